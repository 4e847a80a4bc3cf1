"""The human figure: URDF, joint angles and transforms reproduce the original pose in every
reader.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pallas_ros.body import rotations
from pallas_ros.body.frames import BodyFrame, ExtraFrame, ImuFrame
from pallas_ros.body.kinematics import forward_kinematics, to_global
from pallas_ros.body.names import JOINTS, WORLD_FRAME
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.view import human, scene

yourdfpy = pytest.importorskip("yourdfpy", reason="needs the extra [view]")
SKELETON = Skeleton.from_height(1.82)


def pose(seed: int, size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A random pose: positions (22, 3), global rotations (22, 4)."""
    rng = np.random.default_rng(seed)
    q_world = to_global(rotations.from_rotvec(rng.normal(size=(22, 3)) * size))
    return forward_kinematics(SKELETON, q_world, rng.normal(size=3)), q_world


@given(seed=st.integers(0, 2**31), size=st.sampled_from([0.1, 1.0, 3.0]))
def test_urdf_and_angles_give_the_pose(seed: int, size: float) -> None:
    from pallas_ros.body.kinematics import to_local

    positions, q_world = pose(seed, size)
    angles = human.urdf_joint_angles(to_local(q_world))
    links = {"odom": (np.zeros(3), np.array([0, 0, 0, 1.0]))}
    for parent, child, p, q in human.link_transforms(positions, q_world, angles, "operator"):
        origin, turn = links[parent]
        links[child] = (origin + rotations.rotate(turn, p), rotations.multiply(turn, q))
    for index, joint in enumerate(JOINTS):
        p, q = links[human.frame_name(joint, "operator")]
        np.testing.assert_allclose(p, positions[index], atol=1e-6)
        assert rotations.angle_between(q, q_world[index]) < 1e-5


def test_a_urdf_reader_agrees_with_the_transforms(tmp_path) -> None:
    from pallas_ros.body.kinematics import to_local

    file = tmp_path / "human.urdf"
    file.write_text(human.human_urdf(SKELETON, "anna"))
    model = yourdfpy.URDF.load(str(file))
    assert model.validate()
    positions, q_world = pose(4)
    angles = human.urdf_joint_angles(to_local(q_world))
    names = human.urdf_joint_names("anna")
    assert set(model.actuated_joint_names) == set(names)
    model.update_cfg(
        np.array([dict(zip(names, angles))[name] for name in model.actuated_joint_names])
    )
    base = np.eye(4)
    base[:3, :3] = rotations.to_matrix(q_world[0])
    base[:3, 3] = positions[0]
    for index, joint in enumerate(JOINTS):
        place = base @ model.get_transform(human.frame_name(joint, "anna"))
        np.testing.assert_allclose(place[:3, 3], positions[index], atol=1e-4)


def test_the_figure_is_as_tall_and_wide_as_its_operator() -> None:
    identity = np.tile([0, 0, 0, 1.0], (22, 1))
    starts, ends, radii = human.place(human.figure(SKELETON), SKELETON.rest_positions, identity)
    top = max((starts[:, 2] + radii).max(), (ends[:, 2] + radii).max())
    assert abs(top - 1.82) < 0.02
    assert min((starts[:, 2] - radii).min(), (ends[:, 2] - radii).min()) == pytest.approx(
        0, abs=0.03
    )
    assert (ends[:, 1] + radii).max() - (ends[:, 1] - radii).min() == pytest.approx(
        1.82, rel=0.07
    )  # arm span is about stature


def test_names_are_those_of_rep_155() -> None:
    names = [human.frame_name(joint, "b1") for joint in JOINTS]
    assert {"body_b1", "torso_b1", "head_b1", "l_elbow_b1", "r_knee_b1"} <= set(names)
    assert len(set(names)) == 22


def body(**changes: object) -> BodyFrame:
    positions, q_world = pose(1)
    fields = {
        "stamp": 1,
        "rotations": q_world,
        "positions": positions,
        "covariance": np.tile(np.diag([1e-4, 4e-4, 9e-4]), (22, 1, 1)),
        "valid": np.ones(22, dtype=bool),
        "confidence": np.linspace(0, 1, 22),
        "contacts": np.array([1.0, 0.0]),
        "newest_input": 1,
    }
    return BodyFrame(**{**fields, **changes})  # type: ignore[arg-type]


def test_ellipsoids_hold_ninety_per_cent() -> None:
    shape = scene.ellipsoids(body())[5]
    axes = rotations.to_matrix(shape.orientation) * (shape.scale / 2)
    samples = np.random.default_rng(0).multivariate_normal(
        np.zeros(3), np.diag([1e-4, 4e-4, 9e-4]), size=20000
    )
    inside = (np.linalg.norm(samples @ np.linalg.inv(axes).T, axis=1) < 1).mean()
    assert inside == pytest.approx(0.9, abs=0.01)


def test_the_ghost_is_the_prediction_half_way_and_at_its_end() -> None:
    positions = body().positions
    bodies = [body(positions=positions + [0.1 * step, 0, 0]) for step in range(1, 11)]
    half, end, left, right = scene.ghost(bodies)
    assert half.number != end.number
    assert half.colour[3] > end.colour[3]
    plain = scene.skeleton("body", body()).points
    np.testing.assert_allclose(half.points, plain + [0.5, 0, 0])
    np.testing.assert_allclose(end.points, plain + [1.0, 0, 0])
    np.testing.assert_allclose(left.position, positions[20] + [1.0, 0, 0])
    np.testing.assert_allclose(
        sorted(right.scale / 2), scene.ELLIPSOID_90 * np.array([1, 2, 3]) / 100
    )
    assert scene.ghost([]) == []
    assert len(scene.ghost([body(covariance=None)])) == 2


def test_what_must_not_be_used_is_not_drawn() -> None:
    full = scene.skeleton("body", body())
    assert len(full.points) == 42
    valid = np.ones(22, dtype=bool)
    valid[21] = False
    positions = body().positions.copy()
    positions[20] = np.nan
    part = scene.skeleton("body", body(valid=valid, positions=positions))
    assert len(part.points) == 38
    assert np.isfinite(part.points).all()
    assert len(scene.ellipsoids(body(valid=valid, positions=positions))) == 20


def test_the_axes_of_worn_sensors_are_drawn_where_their_bones_are() -> None:
    at_rest = np.tile(rotations.IDENTITY, (4, 1))
    extra = ExtraFrame(
        ("left_shin", "right_shin"),
        at_rest[:2],
        np.zeros((2, 3)),
        np.array([True, False]),
        np.zeros(2),
    )
    frame = ImuFrame(
        1, at_rest, np.zeros((4, 3)), np.ones(4, dtype=bool), np.zeros(4), np.zeros(4), 1
    )
    assert len(scene.imu_axes(frame, body()).points) == 4 * 6
    with_shins = scene.imu_axes(replace(frame, extra=extra), body())
    assert len(with_shins.points) == 5 * 6
    knee = body().positions[JOINTS.index("left_knee")]
    np.testing.assert_array_equal(with_shins.points[-6], knee)


def test_world_frame_is_the_root() -> None:
    positions, q_world = pose(2)
    links = human.link_transforms(positions, q_world, np.zeros(63), "x")
    assert links[0][:2] == (WORLD_FRAME, "body_x")
    assert len({child for _, child, _, _ in links}) == len(links) == 64
