"""Sensor identities by site: published in untrusted messages, stored in new calibrations, and
compared with given ones.
"""

import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.known_pose import TPoseCalibrator
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.procedures import calibrator
from pallas_ros.imu.synchroniser import Synchroniser
from pallas_ros.imu.virtual import SensorNoise, VirtualSensors
from pallas_ros.messages.decode import sensors_from_msg
from pallas_ros.pipeline import Pipeline, PipelineSettings
from pallas_ros.pipeline.recorded import Source, process

WORN = dict(zip(SITES, ("usb:A0", "usb:A1", "usb:A2", "usb:A3"), strict=True))
EXCHANGED = WORN | {"left_wrist": "usb:A3", "right_wrist": "usb:A2"}


def message(pairs: list[tuple[str, str]]) -> Any:
    return SimpleNamespace(
        status=[SimpleNamespace(name=name, hardware_id=identity) for name, identity in pairs]
    )


@given(
    st.lists(
        st.tuples(st.one_of(st.sampled_from(SITES), st.text(max_size=30)), st.text(max_size=300)),
        max_size=6,
    )
)
def test_any_message_is_read_or_refused_in_one_sentence(pairs: list[tuple[str, str]]) -> None:
    sensors = {}
    refusal = ""
    try:
        sensors = sensors_from_msg(message(pairs))
    except PallasError as error:
        refusal = str(error)
    if refusal:
        assert len(refusal.splitlines()) == 1
        assert len(refusal) < 500
        return
    assert sensors == {site: identity for site, identity in pairs if identity}
    assert set(sensors) <= set(SITES)
    assert all(
        len(identity) <= 200 and not any(unicodedata.category(c)[0] == "C" for c in identity)
        for identity in sensors.values()
    )
    calibration = Calibration.identity()
    calibration.name_sensors(sensors)
    assert {
        s: c.sensor
        for s, c in Calibration.from_yaml(calibration.to_yaml()).sites.items()
        if c.sensor
    } == sensors


@given(st.permutations(SITES).flatmap(lambda sites: st.lists(st.sampled_from(sites), unique=True)))
def test_messages_of_the_driver_are_read(sites: list[str]) -> None:
    pytest.importorskip("diagnostic_msgs.msg", reason="needs ROS 2 (make setup)")
    from pallas_ros.messages.encode import sensors_to_msg

    said = {site: WORN[site] for site in sites}
    assert sensors_from_msg(sensors_to_msg(1, said)) == said


class Bodies:
    """Replaces the estimator."""

    def step(self, frame: Any) -> Any:
        return SimpleNamespace(stamp=frame.stamp, remarks=())

    def reset(self) -> None:
        pass


def pipeline(calibration: Any) -> Pipeline:
    return Pipeline(calibration, Synchroniser(), Bodies())


def made_with(sensors: dict[str, str]) -> Calibration:
    calibration = Calibration.identity()
    calibration.name_sensors(sensors)
    return calibration


SAMPLES = VirtualSensors(SensorNoise.none(), 1).samples(demo_motion(8.0), 60.0)


def push(to: Pipeline, start: int, stop: int) -> int:
    return sum(len(to.push(site, sample)) for site, sample in SAMPLES[start:stop])


@pytest.mark.parametrize("told_late", [False, True])
def test_a_found_calibration_is_labelled_with_the_sensors(told_late: bool) -> None:
    live = pipeline(TPoseCalibrator())
    if not told_late:
        live.connected(WORN)
    assert push(live, 0, 1200) > 0
    assert live.calibration is not None
    if told_late:
        assert not live.calibration.sites["neck"].sensor
        live.connected(WORN)
    assert {site: c.sensor for site, c in live.calibration.sites.items()} == WORN
    assert "usb:A2" in live.document()
    live.connected(EXCHANGED)
    assert live.foreign.startswith("the calibration of 20")
    assert (
        "made with sensor usb:A2 on left_wrist, but usb:A3 is there (it belongs on right_wrist)"
        in live.foreign
    )


def test_a_given_calibration_applies_only_to_its_own_sensors() -> None:
    live = pipeline(made_with(EXCHANGED))
    assert push(live, 0, 400) > 0  # nobody has said yet whose samples these are
    live.connected(WORN)
    assert "swap the sensors back, or calibrate again" in live.foreign
    assert live.remarks()[0] == live.foreign
    assert push(live, 400, 800) == 0
    live.connected(EXCHANGED)
    assert push(live, 800, 1200) > 0
    with pytest.raises(PallasError, match="usb:A2 on left_wrist, but usb:A3 is there"):
        live.apply_calibration(made_with(WORN), SAMPLES[1200][1].stamp)
    assert push(live, 1200, 1600) > 0  # with the one before


def test_others_may_be_calibrated_while_the_one_in_force_is_foreign() -> None:
    live = pipeline(made_with(EXCHANGED))
    live.connected(WORN)
    live.calibrate(TPoseCalibrator())
    assert push(live, 0, 1600) > 0
    assert not live.foreign
    assert live.calibration is not None
    assert live.calibration.sites["left_wrist"].sensor == "usb:A2"


def test_rest_does_not_say_which_sensors_a_calibration_was_made_with() -> None:
    live = pipeline(made_with({"neck": "usb:A1"}))
    live.connected(WORN)
    live.calibrate(calibrator("rest", 1.0, current=live.calibration))
    push(live, 0, 1200)
    assert live.calibrator is None
    assert live.calibration is not None
    np.testing.assert_allclose(live.calibration.sites["neck"].acceleration_scale, 1.0, atol=0.01)
    assert [live.calibration.sites[site].sensor for site in SITES] == ["", "usb:A1", "", ""]


def test_a_recording_is_not_processed_with_the_calibration_of_other_sensors(tmp_path: Path) -> None:
    made_with(EXCHANGED).save(tmp_path / "foreign.yaml")
    source = Source(iter(SAMPLES), [], 8.0, WORN)
    with pytest.raises(PallasError, match="usb:A3 on left_wrist, but usb:A2 is there"):
        next(process(source, PipelineSettings(calibration=str(tmp_path / "foreign.yaml"))))
