"""Heading resets in any stance: for one or all sensors, live and in replay, and by a key."""

import os
import pty
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.names import EXTRA_SITES, JOINTS, SITES
from pallas_ros.graph import foreground
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.heading import HeadingDrift
from pallas_ros.imu.heading_reset import describe_turns, heading_turns
from pallas_ros.imu.intake import Intake
from pallas_ros.imu.sample import GRAVITY, ImuSample
from pallas_ros.imu.steps import N_POSE
from pallas_ros.imu.synchroniser import Synchroniser
from pallas_ros.pipeline import Pipeline, read_document

Bones = dict[str, np.ndarray]

SIDEWAYS: Bones = dict.fromkeys(SITES, rotations.IDENTITY)
FORWARD: Bones = SIDEWAYS | {
    "left_wrist": rotations.about_z(-np.pi / 2),
    "right_wrist": rotations.about_z(np.pi / 2),
}
STANCES: dict[str, Bones] = {"sideways": SIDEWAYS, "forward": FORWARD, "hanging": dict(N_POSE)}


def drifted(bones: Bones, degrees: dict[str, float], facing: float = 0.0) -> Bones:
    return {
        site: rotations.multiply(
            rotations.about_z(np.radians(degrees.get(site, 0.0)) + facing), bones[site]
        )
        for site in SITES
    }


@pytest.mark.parametrize("stance", STANCES)
@pytest.mark.parametrize("site", SITES)
def test_one_sensor_is_turned_back_by_its_drift(stance: str, site: str) -> None:
    seen = drifted(STANCES[stance], {site: 25.0}, facing=1.0)
    turns = heading_turns(seen, site)
    assert list(turns) == [site]
    assert np.degrees(turns[site].angle) == pytest.approx(-25.0, abs=1e-6)
    assert f"{site} by -25 degrees" in describe_turns(turns)


@pytest.mark.parametrize("stance", STANCES)
def test_all_sensors_face_x_afterwards(stance: str) -> None:
    off = {"pelvis": 70.0, "neck": 50.0, "left_wrist": 95.0, "right_wrist": 60.0}
    seen = drifted(STANCES[stance], off)
    turns = heading_turns(seen)
    for site in SITES:
        right = rotations.multiply(rotations.about_z(turns[site].angle), seen[site])
        assert np.degrees(rotations.angle_between(right, STANCES[stance][site])) < 1e-3


def test_a_relaxed_stance_leaves_little() -> None:
    """With forearms 20 degrees below the horizontal and the trunk bent by 15, the headings are
    correct to within some degrees.
    """
    bent = rotations.from_rotvec(np.array([0.0, np.radians(15), 0.0]))
    low = rotations.from_rotvec(np.array([0.0, np.radians(20), 0.0]))
    bones = {
        "pelvis": rotations.IDENTITY,
        "neck": bent,
        "left_wrist": rotations.multiply(low, FORWARD["left_wrist"]),
        "right_wrist": rotations.multiply(low, FORWARD["right_wrist"]),
    }
    turns = heading_turns(drifted(bones, {"neck": -30.0, "left_wrist": 35.0}))
    assert np.degrees(turns["neck"].angle) == pytest.approx(30.0, abs=1.0)
    assert np.degrees(turns["left_wrist"].angle) == pytest.approx(-35.0, abs=1.0)


def test_a_stance_that_is_given_is_believed() -> None:
    seen = drifted(FORWARD, {"left_wrist": 60.0})
    assert np.degrees(heading_turns(seen, "left_wrist")["left_wrist"].angle) == pytest.approx(30)
    given = heading_turns(seen, "left_wrist", "forward")
    assert np.degrees(given["left_wrist"].angle) == pytest.approx(-60)


@pytest.mark.parametrize(
    ("bones", "site", "stance", "words"),
    [
        (SIDEWAYS, "tail", "", "unknown site 'tail'"),
        (SIDEWAYS, "", "lotus", "unknown stance 'lotus'"),
        (SIDEWAYS, "left_wrist", "hanging", "does not hang"),
        (dict(N_POSE), "left_wrist", "forward", "points down, so its heading is undefined"),
        ({"neck": rotations.IDENTITY}, "", "", "no samples of pelvis"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    bones: Bones, site: str, stance: str, words: str
) -> None:
    with pytest.raises(PallasError, match=words):
        heading_turns(bones, site, stance)


@pytest.mark.parametrize("site", EXTRA_SITES)
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("stance", STANCES)
def test_an_optional_sensor_is_turned_back_by_its_drift(
    stance: str, whole: bool, site: str
) -> None:
    upright = dict.fromkeys(EXTRA_SITES, rotations.IDENTITY)
    bones = upright | STANCES[stance]
    seen = bones | {site: rotations.multiply(rotations.about_z(0.5), bones[site])}
    turns = heading_turns(seen, "" if whole else site)
    assert turns[site].angle == pytest.approx(-0.5)
    assert set(turns) == (set(seen) if whole else {site})


def test_an_upper_arm_hangs_while_the_forearm_points_forward() -> None:
    hanging = rotations.multiply(rotations.about_z(0.5), N_POSE["left_upper_arm"])
    seen = {**FORWARD, "left_upper_arm": hanging}
    turns = heading_turns(seen, stance="forward")
    assert turns["left_upper_arm"].angle == pytest.approx(-0.5)


def test_the_bent_legs_of_a_sitting_wearer_are_turned_back() -> None:
    bent = rotations.from_rotvec(np.array([0.0, np.radians(-100), 0.0]))
    seen = {**FORWARD, "left_thigh": rotations.multiply(rotations.about_z(0.5), bent)}
    assert heading_turns(seen)["left_thigh"].angle == pytest.approx(-0.5)


def test_a_raised_upper_arm_is_refused_alone_and_left_out_otherwise() -> None:
    raised = rotations.from_rotvec(np.array([np.pi / 2, 0.0, 0.0]))
    seen = {**FORWARD, "left_upper_arm": raised}
    assert set(heading_turns(seen)) == set(SITES)
    with pytest.raises(PallasError, match="left_upper_arm: the upper arm points up"):
        heading_turns(seen, "left_upper_arm")


class Recorder:
    """Replaces the estimator."""

    def __init__(self) -> None:
        self.frames: list[ImuFrame] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def step(self, frame: ImuFrame) -> BodyFrame:
        self.frames.append(frame)
        none = np.zeros((len(JOINTS), 3))
        return BodyFrame(
            frame.stamp,
            np.tile(rotations.IDENTITY, (len(JOINTS), 1)),
            none,
            None,
            np.ones(22, bool),
            np.ones(22),
            np.zeros(2),
            frame.newest_input,
        )


def wearing(bones: Bones, begin: float, seconds: float) -> list[tuple[str, ImuSample]]:
    up = np.array([0.0, 0.0, GRAVITY])
    return [
        (
            site,
            ImuSample(round((begin + k / 60) * 1e9), q, rotations.rotate(rotations.inverse(q), up)),
        )
        for k in range(round(60 * seconds))
        for site, q in bones.items()
    ]


@pytest.mark.parametrize("site", ["", "left_wrist", "pelvis"])
def test_bodies_go_on_with_the_headings_set_right(site: str) -> None:
    off = {site or "neck": 40.0}
    seen = drifted(FORWARD, off)
    estimator = Recorder()
    pipeline = Pipeline(Calibration.identity(), Synchroniser(), estimator, heading=HeadingDrift())
    before = wearing(seen, 1.0, 2.0)
    after = wearing(seen, 3.0, 1.0)
    for at, sample in before:
        pipeline.push(at, sample)
    assert pipeline.imu_frame is not None
    turns = pipeline.reset_heading(site, "forward" if site == "left_wrist" else "")
    resets = estimator.resets
    count = len(estimator.frames)
    for at, sample in after:
        pipeline.push(at, sample)
    assert estimator.resets == resets  # the body goes on
    assert len(estimator.frames) > count + 55
    last = estimator.frames[-1]
    for i, name in enumerate(SITES):
        assert np.degrees(rotations.angle_between(last.orientation[i], FORWARD[name])) < 1.0
    assert set(turns) == ({site} if site else set(SITES))
    # a replay of the recorded samples and calibrations gives the same
    document, stamp = read_document(pipeline.document())
    again = Recorder()
    replay = Pipeline(Calibration.identity(), Synchroniser(), again, heading=HeadingDrift())
    for at, sample in before + after:
        if sample.stamp > stamp and replay.from_stamp < stamp:
            replay.apply_calibration(document, stamp)
        replay.push(at, sample)
    assert np.allclose(again.frames[-1].orientation, last.orientation, atol=1e-4)


def test_the_document_follows_every_change() -> None:
    pipeline = Pipeline(Calibration.identity(), Synchroniser(), Recorder())
    first = pipeline.document()
    assert pipeline.document() is first  # written once, as long as nothing changes
    pipeline.from_stamp = 5
    assert read_document(pipeline.document())[1] == 5
    assert pipeline.calibration is not None
    pipeline.calibration.name_sensors({"neck": "usb:A1"})
    assert "usb:A1" in pipeline.document()
    other = Calibration.identity()
    other.sites["neck"].heading_offset = 0.25
    pipeline.apply_calibration(other, 5)
    found, _ = read_document(pipeline.document())
    assert found.sites["neck"].heading_offset == 0.25


def test_before_the_first_body_it_is_refused() -> None:
    pipeline = Pipeline(Calibration.identity(), Synchroniser(), Recorder())
    with pytest.raises(PallasError, match="calibrate first"):
        pipeline.reset_heading()


def test_two_resets_in_a_row_do_not_correct_twice() -> None:
    """The second one is refused until a frame with the first correction is there."""
    pipeline = Pipeline(Calibration.identity(), Synchroniser(), Recorder(), heading=HeadingDrift())
    seen = drifted(FORWARD, {"neck": 40.0})
    for at, sample in wearing(seen, 1.0, 1.0):
        pipeline.push(at, sample)
    pipeline.reset_heading()
    with pytest.raises(PallasError, match="no frame since the last calibration yet"):
        pipeline.reset_heading()
    for at, sample in wearing(seen, 2.0, 1.0):
        pipeline.push(at, sample)
    again = pipeline.reset_heading()
    assert abs(np.degrees(again["neck"].angle)) < 1.0


def test_a_reset_right_after_loading_a_calibration_without_a_worn_site_is_refused() -> None:
    worn = (*SITES, "left_shin")
    pipeline = Pipeline(
        Calibration.identity(worn), Synchroniser(sites=worn), Recorder(), intake=Intake(sites=worn)
    )
    for at, sample in wearing({**FORWARD, "left_shin": rotations.IDENTITY}, 1.0, 1.0):
        pipeline.push(at, sample)
    pipeline.apply_calibration(Calibration.identity(), 2 * 10**9)
    with pytest.raises(PallasError, match="no frame since the last calibration yet"):
        pipeline.reset_heading()


def test_a_frame_from_before_the_clock_was_set_back_is_not_used() -> None:
    """Regression: its timestamp is after that of the calibration on the new clock."""
    pipeline = Pipeline(Calibration.identity(), Synchroniser(), Recorder())
    for at, sample in wearing(FORWARD, 100.0, 1.0):
        pipeline.push(at, sample)
    frame = pipeline.imu_frame
    refused = 0
    for at, sample in wearing(FORWARD, 50.0, 1.0):
        pipeline.push(at, sample)
        if pipeline.from_stamp < 60 * 10**9 and pipeline.imu_frame is frame:
            refused += 1
            with pytest.raises(PallasError, match="since the clock was set back"):
                pipeline.reset_heading()
    assert refused
    pipeline.reset_heading()


@pytest.mark.parametrize("stance", ["", "forward"])
def test_the_stance_of_the_forearms_does_not_turn_upper_arms(stance: str) -> None:
    seen = FORWARD | {
        "left_upper_arm": rotations.IDENTITY,
        "right_upper_arm": rotations.IDENTITY,
    }
    for turn in heading_turns(seen, "", stance).values():
        assert abs(turn.angle) < 1e-6


def test_a_key_runs_its_command_and_the_terminal_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: Callable[..., None]
) -> None:
    import termios

    master, slave = pty.openpty()
    with os.fdopen(slave, "r", closefd=True) as terminal:
        monkeypatch.setattr(foreground.sys, "stdin", terminal)
        monkeypatch.setattr(foreground.os, "tcgetpgrp", lambda fd: os.getpgrp())
        before = termios.tcgetattr(terminal.fileno())
        mark = tmp_path / "pressed"
        command = [sys.executable, "-c", f"open({str(mark)!r}, 'w').write('x')"]
        with foreground._Keyboard({"h": command}) as keyboard:
            os.write(master, b"xh")
            time.sleep(0.05)
            keyboard.look(None)
            wait(mark.exists)
        assert termios.tcgetattr(terminal.fileno()) == before
    os.close(master)


def test_without_a_terminal_no_key_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreground.sys, "stdin", None)
    with foreground._Keyboard({"h": ["false"]}) as keyboard:
        keyboard.look(None)


@pytest.mark.parametrize("site", ["", "left_shin"])
def test_bodies_go_on_with_an_optional_heading_set_right(site: str) -> None:
    worn = (*SITES, "left_shin", "right_shin")
    drift = rotations.about_z(np.radians(40.0))
    bones = {**FORWARD, "left_shin": rotations.IDENTITY, "right_shin": rotations.IDENTITY}
    seen = {**bones, "left_shin": drift}
    estimator = Recorder()
    calibration = Calibration.identity(worn)
    pipeline = Pipeline(
        calibration,
        Synchroniser(sites=worn),
        estimator,
        heading=HeadingDrift(),
        intake=Intake(sites=worn),
    )
    for at, sample in wearing(seen, 1.0, 2.0):
        pipeline.push(at, sample)
    del seen["right_shin"]
    for at, sample in wearing(seen, 3.0, 1.0):
        pipeline.push(at, sample)
    pipeline.reset_heading(site)
    for at, sample in wearing(seen, 4.0, 1.0):
        pipeline.push(at, sample)
    assert pipeline.calibration is not None
    assert pipeline.calibration.sites["right_shin"].heading_offset == pytest.approx(0.0)
    extra = estimator.frames[-1].extra
    assert extra is not None and extra.valid[0]
    assert np.degrees(rotations.angle_between(extra.orientation[0], rotations.IDENTITY)) < 1.0
