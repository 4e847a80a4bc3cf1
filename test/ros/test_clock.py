"""A clock change during operation: it is detected, reported and followed; the times are passed to
plain objects.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.names import SITES
from pallas_ros.imu.clock import NANOSECONDS, ClockMapper
from pallas_ros.imu.guided import GuidedCalibrator
from pallas_ros.imu.ports import ShakeAssigner
from pallas_ros.imu.sample import ImuSample
from pallas_ros.pipeline.settings import Settings
from pallas_ros.ros.clock_watch import ClockWatch

BEGUN = 1_800_000_000 * NANOSECONDS
HOUR = 3600 * NANOSECONDS


def test_a_clock_that_is_set_is_reported_once_and_one_that_drifts_is_not() -> None:
    watch = ClockWatch()
    said = []
    for second in range(100):
        drift = second * 100_000  # 100 ppm
        back = HOUR if second >= 50 else 0
        said.append(watch.look(BEGUN + second * NANOSECONDS + drift - back, second * NANOSECONDS))
    assert [second for second, sentence in enumerate(said) if sentence] == [50]
    assert "was set back by 3600.0 s" in said[50]
    assert watch.figures() == {"clock jumps": "1", "last clock jump s": "-3600.0"}


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_stamps_of_a_sensor_follow_the_host_clock(jump: int) -> None:
    mapper = ClockMapper()
    arrivals = [BEGUN + k * NANOSECONDS // 100 + (jump if k >= 1000 else 0) for k in range(2000)]
    stamps = [mapper.map(100 + k / 100, arrival) for k, arrival in enumerate(arrivals)]
    assert all(stamp <= arrival for stamp, arrival in zip(stamps, arrivals, strict=True))
    assert stamps[-1] - stamps[1000] == pytest.approx(9.99 * NANOSECONDS, rel=1e-3)
    assert mapper.set_back == (1 if jump < 0 else 0)
    assert mapper.restarts == 1


def _still(stamp: int, shaken: bool = False) -> ImuSample:
    acceleration = np.array([0.0, 0.0, 9.81 + (30.0 if shaken and stamp // 10**7 % 2 else 0.0)])
    return ImuSample(stamp, rotations.IDENTITY, acceleration, np.zeros(3))


def _push(push: Callable[[str, ImuSample], Any], begun: int, seconds: float) -> list[Any]:
    """Push still samples of every site at 100 Hz; return the resulting bodies."""
    came: list[Any] = []
    for k in range(round(seconds * 100)):
        came += [push(site, _still(begun + k * 10**7)) for site in SITES]
    return came


def test_bodies_go_on_after_the_clock_was_set_back_to_before_the_calibration() -> None:
    pipeline = Settings().pipeline()
    before = sum(map(len, _push(pipeline.push, BEGUN, 4.0)))
    after = sum(map(len, _push(pipeline.push, BEGUN - HOUR, 3.0)))
    assert before > 100
    assert after > 150
    assert any("the sensors' clock went back by 360" in remark for remark in pipeline.remarks())
    assert pipeline.dropped()["clock set back"] == 1
    assert pipeline.from_stamp < BEGUN - HOUR + NANOSECONDS  # what is published says from where


def test_samples_before_the_calibration_are_omitted() -> None:
    """The calibration of a recording applies from its timestamp on, regardless of earlier
    samples.
    """
    found = Settings().pipeline()
    _push(found.push, BEGUN, 4.0)
    assert found.calibration is not None
    pipeline = Settings().pipeline()
    pipeline.apply_calibration(found.calibration, BEGUN + 60 * NANOSECONDS)
    assert not sum(map(len, _push(pipeline.push, BEGUN, 10.0)))
    assert sum(map(len, _push(pipeline.push, BEGUN + 60 * NANOSECONDS, 2.0))) > 100


def test_a_calibration_that_is_loaded_after_the_clock_was_set_back_applies() -> None:
    found = Settings().pipeline()
    _push(found.push, BEGUN, 4.0)
    assert found.calibration is not None
    pipeline = Settings().pipeline()
    pipeline.apply_calibration(found.calibration, BEGUN, arrived=True)
    assert sum(map(len, _push(pipeline.push, BEGUN - HOUR, 3.0))) > 150


@pytest.mark.parametrize("ahead", [HOUR, 2 * NANOSECONDS])
def test_a_calibration_is_found_although_one_sample_was_stamped_ahead(ahead: int) -> None:
    pipeline = Settings().pipeline()
    pipeline.push("neck", _still(BEGUN + ahead))
    assert sum(map(len, _push(pipeline.push, BEGUN, 8.0))) > 100


def test_the_guided_calibration_continues_after_the_clock_was_set_back() -> None:
    guided = GuidedCalibrator(False, dict.fromkeys(SITES, rotations.IDENTITY))
    _push(guided.push, BEGUN, 1.0)
    kept = len(guided._path["pelvis"])
    _push(guided.push, BEGUN - HOUR, 1.0)
    assert len(guided._path["pelvis"]) > 1.5 * kept


def test_sensors_are_found_by_shaking_after_the_clock_was_set_back() -> None:
    ports = [f"/dev/{site}" for site in SITES]
    assigner = ShakeAssigner(ports)

    def push(begun: int, shaken: str) -> None:
        for k in range(300):
            for port in ports:
                assigner.push(port, _still(begun + k * 10**7, port == shaken))

    push(BEGUN, "")
    push(BEGUN - HOUR, "")
    push(BEGUN - HOUR + 4 * NANOSECONDS, ports[0])
    assert list(assigner.assigned.values()) == [ports[0]]
