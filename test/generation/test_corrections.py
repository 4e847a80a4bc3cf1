"""Guarantees of generated motion, for any features."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.corrections import (
    LIFT_M,
    correct,
    floor_heights,
    hand_error,
    hover,
    range_violations,
)
from hpstm_ros.generation.producer import HAND_LIMIT_M
from hpstm_ros.generation.request import HandTarget, resting
from pallas_ros.body.motion import resample
from pallas_ros.body.names import JOINT_INDEX

FEET = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]


def wandering(seed: int, frames: int = 60, size: float = 0.3) -> np.ndarray:
    """Features as a poor network might give them: a body at rest plus slow noise."""
    rng = np.random.default_rng(seed)
    rest, _ = rep.from_motion(resample(resting(2.5), 30.0))
    t = np.arange(frames)[:, None] / 30
    wave = np.sin(t * rng.uniform(1, 6, rep.FEATURES) + rng.uniform(0, 6, rep.FEATURES))
    features = rest[:frames] + size * rng.random(rep.FEATURES) * wave
    features[:, rep.CONTACTS] = wave[:, rep.CONTACTS] > 0
    return features.astype(np.float32)


@given(seed=st.integers(0, 10_000), size=st.floats(0.0, 1.0))
@settings(max_examples=15, deadline=None)
def test_joints_stay_in_range_and_feet_above_the_floor(seed, size):
    out = correct(wandering(seed, size=size))
    assert np.isfinite(out).all()
    q, _, _ = rep.decode(out)
    assert not range_violations(q).any()
    joints, least = floor_heights()
    assert (rep.positions(out)[:, joints, 2] > least - 0.01).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_standing_foot_does_not_slide(seed):
    features = wandering(seed, size=0.1)
    features[:, rep.CONTACTS] = [1, 0]
    out = correct(features)
    speed = np.linalg.norm(np.diff(rep.positions(out)[:, FEET[0], :2], axis=0), axis=-1) * 30
    assert np.mean(speed) < 0.03


@pytest.mark.parametrize("point", [(0.4, -0.2, 1.3), (0.5, -0.3, 1.0), (0.1, -0.6, 1.5)])
def test_a_hand_reaches_its_target(point):
    target = HandTarget("right", point, 1.0)
    out = correct(wandering(1, size=0.05), [target])
    assert hand_error(out, target) < 0.01


@pytest.mark.parametrize("point", [(0.9, 0.0, 2.3), (2.3, 0.0, 1.0), (0.2, -0.2, 2.3)])
def test_a_hand_target_does_not_lift_the_feet(point):
    target = HandTarget("right", point, 1.0)
    out = correct(wandering(1, size=0.05), [target])
    q, root, _ = rep.decode(out)
    assert hover(q, root).max() < LIFT_M + 0.03
    if point[2] > 2.0:
        assert hand_error(out, target) > HAND_LIMIT_M  # reported by the producer


def test_motion_that_needs_nothing_is_hardly_changed():
    rest, _ = rep.from_motion(resting(2.0))
    np.testing.assert_allclose(rep.positions(correct(rest)), rep.positions(rest), atol=0.02)
