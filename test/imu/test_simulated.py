"""Virtual sensors, scripted motions, recordings, and the ground truth of a simulator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX, SITES
from pallas_ros.imu import playback
from pallas_ros.imu.motions import calibration_motion, demo_motion, everyday_motion
from pallas_ros.imu.recording import load_recording
from pallas_ros.imu.sample import GRAVITY
from pallas_ros.imu.simulator import SensorSimulator
from pallas_ros.imu.virtual import SensorNoise, VirtualSensors


def test_virtual_sensors_are_rigid_bodies() -> None:
    """Gyroscope and orientation, and accelerometer and lever arm, agree: integrating one gives the
    other.
    """
    motion = demo_motion(12.0)
    for site, track in (
        VirtualSensors(SensorNoise.none().with_(mounting_error=0.2), 3)
        .tracks(motion, 200.0)
        .items()
    ):
        step = np.diff(track.time)[:, None]
        turns = rotations.from_rotvec(
            0.5 * (track.angular_velocity[1:] + track.angular_velocity[:-1]) * step
        )
        predicted = rotations.multiply(track.orientation[:-1], turns)
        assert np.degrees(rotations.angle_between(predicted, track.orientation[1:])).max() < 0.01, (
            site
        )
        world = rotations.rotate(track.orientation, track.acceleration) - [0, 0, GRAVITY]
        assert np.linalg.norm(np.sum(world[:-1] * step, axis=0)) < 0.5, (
            site
        )  # begins at rest, ends slow


def test_motions_are_smooth_and_plausible() -> None:
    for motion in (demo_motion(70.0), everyday_motion(60.0, seed=4), calibration_motion()):
        jerk = np.diff(motion.positions, 3, axis=0) * motion.fps**3
        assert np.abs(jerk).max() < 400
        feet = motion.positions[:, [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]], 2].min(
            axis=1
        )
        assert feet.min() > 0.03
        assert feet.max() < 0.12
    demo = demo_motion(70.0)
    assert (
        np.abs(np.diff(demo.positions[: int(2.9 * 60)], axis=0)).max() < 1e-9
    )  # still, for the calibration
    np.testing.assert_allclose(demo_motion(20.0).positions, demo.positions[:1201], atol=0.05)


def test_a_calibrated_recording_plays_as_raw_sensors(shared_data: Path) -> None:
    recording = load_recording(shared_data / "real_imu_60hz.npz")
    assert recording.calibrated
    raw = recording.raw()
    world = rotations.rotate(raw.orientation, raw.acceleration) - [0, 0, GRAVITY]
    np.testing.assert_allclose(world, recording.acceleration, atol=1e-5)
    lead = recording.with_lead_in()
    assert len(lead.stamp) == len(recording.stamp) + 270
    assert np.allclose(lead.orientation[:170], rotations.IDENTITY)
    tracks = playback.source(str(shared_data / "real_imu_60hz.npz"), 10.0, 1.75)
    assert set(tracks) == set(SITES)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sites": None}, "contains no 'sites'"),
        (
            {"sites": np.array(["pelvis", "head", "left_wrist", "tail"])},
            "no sensor for right_wrist",
        ),
        ({"orientation": np.zeros((5, 4, 3))}, "'orientation' has shape"),
        (
            {"stamp": np.array([0, 1, 2, 3, np.nan])},
            "'stamp' must be in seconds, and some values are not",
        ),
        (
            {"stamp": np.array([0, 1, 2, 3, np.inf])},
            "'stamp' must be in seconds, and some values are not",
        ),
        (
            {"stamp": np.array([-np.inf, 1, 2, 3, 4])},
            "'stamp' must be in seconds, and some values are not",
        ),
        ({"stamp": np.full(5, np.inf)}, "'stamp' must be in seconds, and some values are not"),
        ({"stamp": 1e12 + np.arange(5.0) / 64}, "finite and at most 9e\\+09"),
        ({"stamp": -1e12 + np.arange(5.0) / 64}, "finite and at most 9e\\+09"),
        ({"stamp": 1e12 + np.arange(5.0)}, "seem to be in milliseconds"),
        ({"stamp": np.arange(5.0) * 1e9 / 60}, "seem to be in nanoseconds"),
        ({"stamp": np.zeros(5)}, "its stamps are all 0"),
        ({"stamp": np.arange(5.0)}, "seem to be in milliseconds"),
        ({"calibrated": np.zeros(0)}, "'calibrated' must be True or False"),
        (
            {
                "stamp": np.zeros(0),
                "orientation": np.zeros((0, 4, 4)),
                "linear_acceleration": np.zeros((0, 4, 3)),
            },
            "an IMU recording of 0 samples",
        ),
    ],
)
def test_invalid_recordings_are_rejected(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    arrays: dict[str, Any] = {
        "sites": np.array(["pelvis", "head", "left_wrist", "right_wrist"]),
        "stamp": np.arange(5.0) / 60,
        "orientation": np.tile([0.0, 0, 0, 1], (5, 4, 1)),
        "linear_acceleration": np.zeros((5, 4, 3)),
    }
    arrays = {key: value for key, value in {**arrays, **change}.items() if value is not None}
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(PallasError, match=words):
        load_recording(tmp_path / "r.npz")


def test_truth_is_on_the_grid_and_alternates_direction(
    simulated: Callable[..., SensorSimulator], wait: Callable[..., None]
) -> None:
    simulator = simulated()
    wait(lambda: simulator.started_at is not None)
    assert simulator.started_at is not None
    truth = playback.Truth(simulator)
    # six seconds forth, six back, one forth
    bodies = list(truth.until(simulator.started_at + 13 * 10**9))
    assert len(bodies) in (780, 781)
    assert all(round(round(b.stamp * 60 / 1e9) * 1e9 / 60) == b.stamp for b in bodies)
    assert (
        max(np.abs(np.diff([b.positions[20] for b in bodies], axis=0)).max(), 0) < 0.06
    )  # no leap where it turns
    assert not list(truth.until(simulator.started_at + 13 * 10**9))


def test_truth_that_was_skipped_is_not_returned_later(
    simulated: Callable[..., SensorSimulator], wait: Callable[..., None]
) -> None:
    simulator = simulated()
    wait(lambda: simulator.started_at is not None)
    assert simulator.started_at is not None
    half = simulator.started_at + 10**9 // 2
    plain = list(playback.Truth(simulator).until(half + 10**9))
    truth = playback.Truth(simulator)
    truth.skip(half)
    after = list(truth.until(half + 10**9))
    expected = [body for body in plain if body.stamp > half]
    assert [body.stamp for body in after] == [body.stamp for body in expected]
    assert np.array_equal(after[0].positions, expected[0].positions)
