"""Habits of a wearer that the body constraints could mistake for drift."""

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.frames import ImuFrame
from pallas_ros.body.names import SITES
from pallas_ros.imu.heading import DriftModel, HeadingDrift
from pallas_ros.imu.motions import everyday_motion
from pallas_ros.imu.virtual import bone_orientation


@pytest.mark.parametrize("seed", [24, 41])
def test_half_an_hour_of_habits_is_not_taken_for_drift(seed: int) -> None:
    """The headings are correct and stay correct. Wearer 41 initially lets the arms hang turned
    inward by 40 degrees, and never again.
    """
    motion = everyday_motion(1800.0, seed, fps=2)
    corrector = HeadingDrift(DriftModel.of(1.0))
    moved = []
    for i, q in enumerate(np.stack([bone_orientation(motion, site) for site in SITES], axis=1)[6:]):
        frame = ImuFrame(
            10**9 + i * 500_000_000,
            q,
            np.zeros((4, 3)),
            np.ones(4, bool),
            np.zeros(4),
            np.zeros(4),
            0,
        )
        moved.append(np.degrees(corrector.correct(frame).heading_drift))
    _, neck, *forearms = np.array(moved).T
    for forearm in forearms:
        assert np.abs(forearm - neck).max() < 10.0


def test_the_turn_that_is_applied_follows_the_drift() -> None:
    """It is kept between frames, but not beyond a change of the drift."""
    corrector = HeadingDrift()
    q = np.tile([0.0, 0.0, 0.0, 1.0], (4, 1))
    ages = np.zeros(4)
    for i in range(200):
        stamp = 10**9 + i * 100_000_000
        turned = np.asarray(rotations.about_z(np.array([0.0, 0.0, 0.004 * i, 0.0])), np.float64)
        frame = ImuFrame(stamp, turned, np.zeros((4, 3)), np.ones(4, bool), ages, ages, 0)
        corrected = corrector.correct(frame)
        expected = rotations.multiply(rotations.about_z(corrected.heading_drift), turned)
        assert np.array_equal(corrected.orientation, expected)
    assert corrected.heading_drift.any()
    corrector.forget(SITES)
    frame = ImuFrame(stamp + 1, q, np.zeros((4, 3)), np.ones(4, bool), ages, ages, 0)
    assert corrector.correct(frame) is frame
