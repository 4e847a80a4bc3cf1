"""Standing feet stay in place, and the corrected leg remains valid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallas_ros.body import rotations
from pallas_ros.body.kinematics import forward_kinematics_matrices
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.runtime.stance import FARTHEST_M, StanceLock

SKELETON = Skeleton.from_height()
STANDS = np.array([0.95, 0.95])
FLIES = np.array([0.05, 0.05])
ANKLES = [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]]
LEGS = [JOINT_INDEX[f"{side}_{name}"] for side in ("left", "right") for name in ("hip", "knee")]


def stamp(frame: int) -> int:
    return round((frame + 1) * 1e9 / 60)


def pose(angles: np.ndarray) -> np.ndarray:
    """Orientations (22, 3, 3) with thighs and shins turned by rotation vectors (4, 3) rad."""
    R = np.tile(np.eye(3), (22, 1, 1))
    R[LEGS] = rotations.to_matrix(rotations.from_rotvec(angles))
    return R


def joints(R: np.ndarray) -> np.ndarray:
    return np.asarray(forward_kinematics_matrices(SKELETON, R, np.zeros(3)))


def crouch(thigh: float, shin: float) -> np.ndarray:
    return pose(np.array([[0, thigh, 0], [0, shin, 0]] * 2, dtype=float))


def test_a_standing_foot_that_the_network_moves_stays() -> None:
    lock = StanceLock(SKELETON)
    start = None
    for frame in range(90):
        sway = 0.02 * np.sin(frame / 12)
        R = crouch(-0.3 + sway, 0.35 + sway)
        R, p = lock.step(stamp(frame), R, joints(R), np.zeros(3), STANDS)
        start = p[ANKLES] if start is None else start
        np.testing.assert_allclose(p[ANKLES, :2], start[:, :2], atol=1e-9)


def test_a_foot_is_never_held_far_from_where_the_network_sees_it() -> None:
    lock = StanceLock(SKELETON)
    for frame in range(120):
        R = crouch(-0.3 - 0.005 * frame, 0.35)
        seen = joints(R)
        _, p = lock.step(stamp(frame), R, seen, np.zeros(3), STANDS)
        assert (np.linalg.norm((p - seen)[ANKLES], axis=-1) <= FARTHEST_M + 1e-9).all()


def test_a_foot_that_leaves_the_ground_returns_without_a_jump() -> None:
    lock = StanceLock(SKELETON)
    last = None
    for frame in range(120):
        R = crouch(-0.3 - (0.1 if frame >= 20 else 0.005 * frame), 0.35)
        seen = joints(R)
        _, p = lock.step(stamp(frame), R, seen, np.zeros(3), STANDS if frame < 60 else FLIES)
        if last is not None and frame > 20:
            assert np.linalg.norm((p - last)[ANKLES], axis=-1).max() < 0.01
        last = p
    np.testing.assert_allclose(p[ANKLES], seen[ANKLES], atol=2e-3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1.2, 1.2), min_size=24, max_size=24),
    st.lists(st.floats(0, 1), min_size=2, max_size=2),
)
def test_a_moved_leg_has_its_bones_and_its_foot(angles: list[float], contacts: list[float]) -> None:
    """For any legs, positions match the orientations, and feet keep their orientation."""
    lock = StanceLock(SKELETON)
    for frame, vectors in enumerate(np.array(angles).reshape(2, 4, 3)):
        given_R = pose(vectors)
        R, p = lock.step(
            stamp(frame), given_R, joints(given_R), np.zeros(3), np.maximum(contacts, 0.7 - frame)
        )
        np.testing.assert_allclose(p, joints(R), atol=1e-9)
        np.testing.assert_allclose(
            R @ R.transpose(0, 2, 1), np.eye(3)[None].repeat(22, 0), atol=1e-9
        )
        others = [j for j in range(22) if j not in LEGS]
        np.testing.assert_array_equal(R[others], given_R[others])


@pytest.mark.parametrize("gap", [0.6, -0.1])
def test_after_a_gap_feet_stand_where_they_are_seen(gap: float) -> None:
    lock = StanceLock(SKELETON)
    R = crouch(-0.3, 0.35)
    lock.step(stamp(0), R, joints(R), np.zeros(3), STANDS)
    moved = crouch(-0.35, 0.35)
    _, p = lock.step(stamp(0) + round(gap * 1e9), moved, joints(moved), np.zeros(3), STANDS)
    np.testing.assert_array_equal(p, joints(moved))


def test_a_straight_leg_is_not_torn() -> None:
    """If the ankle stays behind by more than the length of the leg."""
    lock = StanceLock(SKELETON)
    for frame in range(30):
        R = pose(np.zeros((4, 3)))
        root = np.array([0.004 * frame, 0.0, 0.002 * frame])
        R, p = lock.step(stamp(frame), R, joints(R), root, STANDS)
        assert np.isfinite(p).all()
        np.testing.assert_allclose(p, joints(R), atol=1e-9)
