"""Segment lengths and forward kinematics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pallas_ros.body import kinematics, rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import (
    JOINT_INDEX,
    JOINTS,
    LEG_JOINTS,
    MIRROR,
    PARENTS,
    SITE_JOINTS,
    SITES,
    UPPER_JOINTS,
)
from pallas_ros.body.skeleton import Skeleton

heights = st.floats(1.2, 2.2)
seeds = st.integers(0, 2**32 - 1)


def random_pose(seed: int) -> np.ndarray:
    """Random global orientations (22, 4)."""
    return Rotation.random(len(JOINTS), random_state=np.random.RandomState(seed)).as_quat()


def test_names_are_consistent() -> None:
    assert len(JOINTS) == len(PARENTS) == len(set(JOINTS)) == 22
    assert all(parent < joint for joint, parent in enumerate(PARENTS))
    assert [MIRROR[MIRROR[j]] for j in range(22)] == list(range(22))
    assert {JOINTS[j] for j in range(22) if MIRROR[j] == j} == {
        "pelvis",
        "spine1",
        "spine2",
        "spine3",
        "neck",
        "head",
    }
    assert sorted(LEG_JOINTS + UPPER_JOINTS) == list(range(22))
    assert len(LEG_JOINTS) == 8
    assert [JOINTS[j] for j in SITE_JOINTS] == ["pelvis", "neck", "left_elbow", "right_elbow"]
    assert len(SITES) == 4


@given(heights)
def test_t_pose_has_the_operators_height_and_is_symmetric(height: float) -> None:
    skeleton = Skeleton.from_height(height)
    rest = skeleton.rest_positions
    assert skeleton.height == pytest.approx(height)
    np.testing.assert_allclose(rest[list(MIRROR)] * [1, -1, 1], rest, atol=1e-12)
    assert rest[JOINT_INDEX["left_wrist"], 1] > 0.3 * height, "the left arm points along +y"
    assert rest[JOINT_INDEX["left_foot"], 0] > rest[JOINT_INDEX["left_ankle"], 0], (
        "the toes point along +x"
    )
    assert 0 < rest[:, 2].min() < 0.05 * height


def test_segments_can_be_set_one_by_one() -> None:
    skeleton = Skeleton.from_height(1.8, {"forearm": 0.30})
    assert skeleton.lengths[JOINT_INDEX["left_wrist"]] == pytest.approx(0.30)
    assert skeleton.lengths[JOINT_INDEX["left_elbow"]] == pytest.approx(0.186 * 1.8)


@pytest.mark.parametrize(
    ("height", "segments", "says"),
    [
        (175.0, None, "in metres"),
        (float("nan"), None, "outside 1.2"),
        (1.8, {"tail": 0.3}, "unknown body segment 'tail'"),
        (1.8, {"forearm": 26.0}, "does not fit"),
        (1.8, {"forearm": float("nan")}, "does not fit"),
    ],
)
def test_impossible_bodies_are_refused_with_a_sentence(
    height: float, segments: dict[str, float] | None, says: str
) -> None:
    with pytest.raises(PallasError, match=says):
        Skeleton.from_height(height, segments)


@given(heights, seeds)
def test_bones_keep_their_lengths_in_any_pose(height: float, seed: int) -> None:
    skeleton = Skeleton.from_height(height)
    positions = kinematics.forward_kinematics(
        skeleton, random_pose(seed), np.array([1.0, 2.0, 3.0])
    )
    bones = np.linalg.norm(positions[1:] - positions[list(PARENTS[1:])], axis=-1)
    np.testing.assert_allclose(bones, skeleton.lengths[1:], atol=1e-12)
    np.testing.assert_allclose(positions[0], [1, 2, 3])


@given(seeds)
def test_turning_the_whole_body_turns_every_joint(seed: int) -> None:
    skeleton = Skeleton.from_height()
    pose = random_pose(seed)
    turn = Rotation.random(random_state=np.random.RandomState(seed + 1 & 0xFFFF)).as_quat()
    zero = np.zeros(3)
    turned = kinematics.forward_kinematics(skeleton, rotations.multiply(turn, pose), zero)
    np.testing.assert_allclose(
        turned,
        rotations.rotate(turn, kinematics.forward_kinematics(skeleton, pose, zero)),
        atol=1e-9,
    )


def test_a_joints_orientation_moves_the_segment_that_leaves_it() -> None:
    skeleton = Skeleton.from_height()
    pose = np.tile(rotations.IDENTITY, (22, 1))
    # forearm from left (+y) to forward (+x)
    pose[JOINT_INDEX["left_elbow"]] = rotations.about_z(-np.pi / 2)
    moved = (
        kinematics.forward_kinematics(skeleton, pose, skeleton.rest_positions[0])
        - skeleton.rest_positions
    )
    forearm = skeleton.lengths[JOINT_INDEX["left_wrist"]]
    np.testing.assert_allclose(moved[JOINT_INDEX["left_wrist"]], [forearm, -forearm, 0], atol=1e-9)
    assert np.abs(np.delete(moved, JOINT_INDEX["left_wrist"], axis=0)).max() < 1e-12


@given(seeds)
def test_local_and_global_orientations_come_back(seed: int) -> None:
    pose = random_pose(seed)
    back = kinematics.to_global(kinematics.to_local(pose))
    np.testing.assert_allclose(rotations.angle_between(pose, back), 0, atol=1e-6)


def test_kinematics_broadcast_over_time() -> None:
    skeleton = Skeleton.from_height()
    poses = np.stack([random_pose(seed) for seed in range(5)])
    roots = np.random.default_rng(0).normal(size=(5, 3))
    batch = kinematics.forward_kinematics(skeleton, poses, roots)
    for frame in range(5):
        np.testing.assert_allclose(
            batch[frame], kinematics.forward_kinematics(skeleton, poses[frame], roots[frame])
        )
