"""Inverse dynamics against statics and mechanics."""

import numpy as np
import pytest
import standing_bodies as bodies
from hypothesis import given
from hypothesis import strategies as st

from hpstm_ros.dynamics.anthropometry import GRAVITY, segments
from hpstm_ros.dynamics.contacts import ContactSettings, Points, share
from hpstm_ros.dynamics.human import Human, states
from hpstm_ros.dynamics.network import MODEL, analyse_network
from hpstm_ros.dynamics.offline import Dynamics, analyse
from hpstm_ros.dynamics.rigid_body import RigidBodySettings
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, PARENTS
from pallas_ros.body.resources import resource

MASS = 75.0
WEIGHT = MASS * GRAVITY
LUMBAR = JOINT_INDEX["spine1"]


def human(load: float = 0.0, sides: tuple[str, ...] = ("left", "right")) -> Human:
    one = Human.of_skeleton(bodies.SKELETON, MASS)
    for side in sides:
        one.carry(load / len(sides), side)
    return one


def forces(motion: Motion, one: Human | None = None, **options: object) -> Dynamics:
    return analyse(motion, one or human(), **options)  # type: ignore[arg-type]


def test_segments_weigh_what_the_person_weighs() -> None:
    for sex in ("female", "male", "mean"):
        parts = segments(bodies.SKELETON.offsets, MASS, 1.75, sex)
        assert sum(part.mass for part in parts) == pytest.approx(MASS, rel=2e-3)
        assert all(np.linalg.eigvalsh(part.inertia).min() > 0 for part in parts)


def test_both_feet_share_the_load_when_standing() -> None:
    found = forces(bodies.still(bodies.arms_down()))
    middle = found.ground_reaction[30]
    assert middle[:, 2].sum() == pytest.approx(WEIGHT, rel=0.01)
    assert middle[0, 2] == pytest.approx(middle[1, 2], rel=0.01)
    assert np.linalg.norm(found.residual[30]) < 0.02 * WEIGHT
    pressure = middle[:, 2] @ middle[:, 3:5] / middle[:, 2].sum()
    assert pressure == pytest.approx(found.centre[30, :2], abs=0.005)


def test_one_leg_carries_everything() -> None:
    lifted = bodies.arms_down(left_hip=(0, -1.2, 0), left_knee=(0, 1.5, 0))
    frames = bodies.still(lifted)
    frames.positions[..., 1] += 0.09  # the weight over the right foot
    reaction = forces(frames).ground_reaction[30]
    assert reaction[1, 2] > 0.97 * WEIGHT
    assert reaction[0, 2] < 0.02 * WEIGHT


@pytest.mark.parametrize("bend", [0.0, 0.6, 1.2])
def test_a_load_changes_the_lumbar_moment_as_statics_predicts(bend: float) -> None:
    """10 kg in the hands, hanging arms, the trunk bent forward by this angle in rad."""
    q = bodies.bowed(bend)
    motion = bodies.still(q)
    loaded = human(10.0)
    bare = forces(motion)
    carried = forces(motion, loaded)
    expected = np.zeros(3)
    for side in ("left", "right"):
        wrist = JOINT_INDEX[f"{side}_wrist"]
        R = bodies.rotations.to_matrix(q[wrist])
        grip = motion.positions[30, wrist] + R @ loaded.grip(side)
        arm = grip - motion.positions[30, LUMBAR]
        expected += np.cross(arm, [0.0, 0.0, 5.0 * GRAVITY])  # what must be held up
    change = carried.moment[30, LUMBAR] - bare.moment[30, LUMBAR]
    assert change == pytest.approx(expected, abs=0.2)
    if bend > 1:
        assert np.linalg.norm(change) > 25  # 10 kg at arm's length are felt
    upward = carried.ground_reaction[30, :, 2].sum()
    assert upward == pytest.approx(WEIGHT + 10 * GRAVITY, rel=0.01)


def test_flight_is_stated_and_has_no_ground_force() -> None:
    frames = 60
    t = np.arange(frames) / bodies.FPS
    path = np.zeros((frames, 3))
    path[:, 2] = 1.4 + 4.0 * t - 0.5 * GRAVITY * t**2
    found = forces(bodies.moving(np.tile(bodies.arms_down(), (frames, 1, 1)), path), floor=0.0)
    assert found.flight[15:45].all()
    assert not found.ground_reaction[15:45, :, :3].any()
    assert np.isnan(found.ground_reaction[15:45, :, 3:]).all()


def test_a_seat_takes_the_weight_only_where_it_is_named() -> None:
    sit = {"left_hip": (0, -1.5, 0), "right_hip": (0, -1.5, 0)}
    sit |= {"left_knee": (0, 1.5, 0), "right_knee": (0, 1.5, 0)}
    motion = bodies.still(bodies.arms_down(**sit), height=0.52)
    seated = forces(motion, settings=RigidBodySettings(extra=("seat",)))
    total = seated.ground_reaction[30, :, 2].sum() + seated.extra["seat"][30, 2]
    assert seated.extra["seat"][30, 2] > 0.5 * WEIGHT
    assert total == pytest.approx(WEIGHT, rel=0.02)
    assert forces(motion).ground_reaction[30, :, 2].sum() > 0.8 * WEIGHT


@given(
    force=st.tuples(*[st.floats(-0.4, 0.4)] * 2, st.floats(0.2, 2.0)),
    moment=st.tuples(*[st.floats(-0.3, 0.3)] * 3),
)
def test_forces_stay_in_their_cones_and_add_up(
    force: tuple[float, ...], moment: tuple[float, ...]
) -> None:
    corners = np.array([[x, y, 0.0] for x in (-0.1, 0.15) for y in (-0.12, 0.12)])
    points = Points(corners, np.array([0, 1, 0, 1]), np.ones(4))
    demand = np.array([*force, *moment]) * WEIGHT
    found = share(points, demand, np.array([0.0, 0.0, 0.9]), WEIGHT, ContactSettings())
    sideways = np.linalg.norm(found.forces[:, :2], axis=1)
    assert (sideways <= ContactSettings().friction * found.forces[:, 2] + 1e-6).all()
    assert found.forces.sum(axis=0) + found.residual[:3] == pytest.approx(demand[:3], abs=1e-6)


def test_what_a_pose_demands_does_not_depend_on_the_pose_before() -> None:
    one = human()
    upright, bent = (
        states(bodies.still(pose).rotations, bodies.still(pose).positions[:, 0], 60.0)[5]
        for pose in (bodies.arms_down(), bodies.arms_down(pelvis=(0, 1.2, 0)))
    )
    one.demand(upright)
    found = one.demand(bent)
    assert found.force == pytest.approx([0, 0, WEIGHT], abs=0.002 * WEIGHT)
    assert found.positions == pytest.approx(one.placed(bent.q)[1])


def test_a_push_up_needs_the_force_that_accelerates_the_body() -> None:
    frames = 60
    t = np.arange(frames) / bodies.FPS
    path = np.tile([0.0, 0.0, 1.0], (frames, 1))
    path[:, 2] += 0.5 * 2.0 * t**2
    q = np.tile(bodies.arms_down(), (frames, 1, 1))
    demand = human().demand(states(q, path, bodies.FPS)[30])
    assert demand.force == pytest.approx([0, 0, MASS * (GRAVITY + 2.0)], rel=2e-3, abs=0.5)


@pytest.mark.parametrize("mass", [0.0, 500.0, float("nan"), -70.0])
def test_an_implausible_mass_is_rejected(mass: float) -> None:
    with pytest.raises(PallasError, match="mass"):
        Human.of_skeleton(bodies.SKELETON, mass)


def test_gaps_are_unknown_and_a_motion_of_three_frames_is_refused() -> None:
    motion = bodies.still(bodies.arms_down(), 2.0)
    motion.positions[50:70] = np.nan
    found = forces(motion)
    assert not found.valid[50:70].any()
    assert found.valid[20:40].all()
    assert np.isfinite(found.moment).all()
    short = Motion(60.0, motion.positions[:3], motion.rotations[:3])
    with pytest.raises(PallasError, match="3 frames"):
        forces(short)
    motion.positions[:] = np.nan
    with pytest.raises(PallasError, match="0 of 120"):
        forces(motion)


@pytest.mark.parametrize("floor", [None, 0.0])
def test_a_motion_of_short_parts_only_is_refused(floor: float | None) -> None:
    """Regression: a ValueError or an IndexError, because the margins leave no valid frame."""
    motion = bodies.still(bodies.arms_down(), 2.0)
    for start in range(0, len(motion), 15):
        motion.positions[start + 4 : start + 15] = np.nan
    with pytest.raises(PallasError, match="no part without gaps is longer than 6 frames"):
        forces(motion, floor=floor)
    with pytest.raises(PallasError, match="no part without gaps"):
        analyse_network(motion, human(), resource(MODEL), floor=floor)


def test_remarks_say_how_the_motion_was_processed() -> None:
    """Regression: there were none."""
    motion = bodies.still(bodies.arms_down(), 4.0)
    assert forces(motion).remarks == []
    motion.positions[60:63] = np.nan
    for found in (forces(motion), analyse_network(motion, human(), resource(MODEL))):
        assert found.remarks == ["short gaps (0.05 s in total) are interpolated"]
    slow = Motion(10.0, motion.positions[:40], motion.rotations[:40])
    (remark,) = forces(slow).remarks
    assert "not filtered, because its rate of 10 Hz is too low for a cutoff of 6 Hz" in remark


def test_the_pelvis_row_is_the_residual_moment() -> None:
    found = forces(bodies.still(bodies.arms_down()))
    assert found.moment[:, 0] == pytest.approx(found.residual[:, 3:])
    assert PARENTS[0] == -1
