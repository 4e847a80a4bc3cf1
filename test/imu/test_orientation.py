"""Estimated orientations, magnetic disturbance, and heading drift."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.frames import ImuFrame
from pallas_ros.body.names import SITES
from pallas_ros.imu.heading import DriftModel, HeadingDrift
from pallas_ros.imu.motions import demo_motion, everyday_motion
from pallas_ros.imu.orientation import OrientationFilter
from pallas_ros.imu.virtual import SensorNoise, VirtualSensors, bone_orientation


@pytest.mark.parametrize("nine", [False, True])
def test_vqf_follows_the_truth(nine: bool) -> None:
    motion = everyday_motion(20.0, seed=1)
    track = VirtualSensors(SensorNoise.none().with_(gyroscope_density=2e-4), 1).tracks(motion)[
        "left_wrist"
    ]
    vqf = OrientationFilter(use_magnetometer=nine)
    q = np.array(
        [
            vqf.update(float(t), rate, acceleration, field)
            for t, rate, acceleration, field in zip(
                track.device_time,
                track.angular_velocity,
                track.acceleration,
                track.magnetic_field,
                strict=True,
            )
        ]
    )
    error = rotations.multiply(q, rotations.inverse(track.orientation))
    tilt = (
        np.degrees(np.linalg.norm(rotations.to_rotvec(error) * [1, 1, 0], axis=1))
        if not nine
        else None
    )
    heading = np.degrees(np.unwrap(rotations.heading(error)))[200:]
    assert np.abs(heading - heading[0]).max() < 3.0
    if tilt is not None:
        aligned = rotations.multiply(rotations.about_z(-rotations.heading(error)), error)
        assert np.degrees(np.linalg.norm(rotations.to_rotvec(aligned), axis=1))[200:].max() < 3.0


@pytest.mark.parametrize("rate", [100.0, 400.0])
@pytest.mark.parametrize("nine", [False, True])
def test_a_filter_continues_after_a_gap(nine: bool, rate: float) -> None:
    """Rate and bias are known, and the heading continues: without a magnetic field from its last
    value, with one from the current field.
    """
    motion = everyday_motion(30.0, seed=4)
    track = VirtualSensors(SensorNoise.none().with_(gyroscope_density=2e-4), 1).tracks(
        motion, rate
    )["left_wrist"]
    bias = np.radians([0.4, -0.3, 0.5])
    vqf = OrientationFilter(use_magnetometer=nine)
    out = np.empty_like(track.orientation)
    silent = (track.device_time - track.device_time[0] > 15.0) & (
        track.device_time - track.device_time[0] < 20.0
    )
    for i, time in enumerate(track.device_time.tolist()):
        if not silent[i]:
            if silent[i - 1]:
                before = vqf
                vqf = vqf.resumed()
                assert vqf.rate_hz == before.rate_hz == pytest.approx(rate, rel=0.01)
                np.testing.assert_allclose(vqf.bias, before.bias, atol=1e-12)
            out[i] = vqf.update(
                time,
                track.angular_velocity[i] + bias,
                track.acceleration[i],
                track.magnetic_field[i],
            )
    last = int(np.argmax(silent)) - 1
    first = len(silent) - int(np.argmax(silent[::-1]))
    if nine:
        error = np.degrees(
            rotations.heading(rotations.multiply(out, rotations.inverse(track.orientation)))
        )
        assert (
            np.abs(error[first + round(rate) :] - np.median(error[:last][-500:])).max() < 4.0
        )  # a second after
    else:
        turned = rotations.multiply(out[first], rotations.inverse(out[last]))
        assert (
            abs(2 * np.arctan2(turned[2], turned[3])) < 1e-9
        )  # tilted as gravity says, and turned no further
        steps = rotations.angle_between(out[first:-1], out[first + 1 :])
        assert (
            np.degrees(steps).max() < 10.0 * 100.0 / rate
        )  # it does not begin at another heading later either


def test_an_implausible_bias_has_no_effect() -> None:
    """A calibration file may contain any finite value."""
    vqf = OrientationFilter(bias=np.array([1e300, -1e300, 50.0]))
    for k in range(200):
        q = vqf.update(0.01 * k, np.zeros(3), np.array([0.0, 0.0, 9.81]))
        assert np.linalg.norm(q) == pytest.approx(1.0)
    assert np.degrees(np.abs(vqf.bias)).max() < 2.1


def frames(motion: Any, drift: dict[str, float], every: int) -> Iterator[tuple[ImuFrame, float]]:
    """Frames of true bones whose headings drift at the given rates (rad/s), with the time in s."""
    bones = {site: bone_orientation(motion, site) for site in SITES}
    for i in range(0, len(motion), every):
        t = i / motion.fps
        q = np.array(
            [
                rotations.multiply(rotations.about_z(drift.get(site, 0.0) * t), bones[site][i])
                for site in SITES
            ]
        )
        yield (
            ImuFrame(
                10**9 + round(t * 1e9),
                q,
                np.ones((4, 3)),
                np.ones(4, bool),
                np.zeros(4),
                np.zeros(4),
                0,
            ),
            t,
        )


def test_heading_drift_is_found_and_taken_out() -> None:
    motion = everyday_motion(240.0, seed=2, fps=10)
    corrector = HeadingDrift(DriftModel.of(10.0))
    rates = {"neck": np.radians(10 / 60), "left_wrist": np.radians(-12 / 60)}
    left = {site: [] for site in SITES}  # type: ignore[var-annotated]
    for frame, t in frames(motion, rates, 2):
        fixed = corrector.correct(frame)
        assert rotations.normalise(fixed.orientation) == pytest.approx(fixed.orientation, abs=1e-9)
        for i, site in enumerate(SITES):
            left[site].append(np.degrees(rates.get(site, 0.0) * t + fixed.heading_drift[i]))
    assert abs(np.degrees(corrector.drift["left_wrist"]) + 48) < 15  # of 48 degrees
    for site in SITES:
        assert np.percentile(np.abs(left[site]), 90) < 15
    assert corrector.remarks()


def test_heading_of_sensors_that_do_not_drift_is_left_alone() -> None:
    corrector = HeadingDrift()
    for frame, _ in frames(demo_motion(90.0, fps=15), {}, 1):
        corrections = corrector.correct(frame).heading_drift
        assert np.degrees(np.abs(corrections)).max() < 3.0
    assert not corrector.remarks()
