"""Robot descriptions with implausible numbers are rejected on loading, and an arm is not moved if
its kinematics cannot be computed.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from hpstm_ros.retarget.robots import load_robot, ready_robots
from hpstm_ros.safety.checker import check_collisions, check_tips
from hpstm_ros.safety.limits import SupervisorSettings
from hpstm_ros.safety.supervisor import SupervisorState
from hpstm_ros.teleoperation import Teleoperation, guard_of, limits_of
from pallas_ros.body.errors import PallasError

NS = 1_000_000_000


def urdf(folder: Path, **changes: str) -> Path:
    """Return a two-link arm with a modification."""
    parts = {
        "origin": "0 0 0.3",
        "rpy": "0 0 0",
        "axis": "0 1 0",
        "upper": "1.5",
        "velocity": "2",
        "mass": "1",
        "size": "0.05 0.05 0.3",
        "place": "0 0 0.15",
        **changes,
    }
    path = folder / "arm.urdf"
    path.write_text(
        """<robot name="arm"><link name="base"/>
        <link name="upper"><inertial><mass value="{mass}"/><inertia ixx="1" ixy="0" ixz="0" iyy="1" iyz="0" izz="1"/></inertial>
        <collision><origin xyz="{place}"/><geometry><box size="{size}"/></geometry></collision></link>
        <link name="fore"/>
        <joint name="shoulder" type="revolute"><parent link="base"/><child link="upper"/><origin xyz="0 0 0.1"/><axis xyz="0 0 1"/>
        <limit lower="-1.5" upper="1.5" effort="1" velocity="1"/></joint>
        <joint name="elbow" type="revolute"><parent link="upper"/><child link="fore"/><origin xyz="{origin}" rpy="{rpy}"/><axis xyz="{axis}"/>
        <limit lower="-1.5" upper="{upper}" effort="1" velocity="{velocity}"/></joint></robot>""".format(  # noqa: E501
            **parts
        )
    )
    return path


def test_the_arm_itself_and_every_ready_robot_are_accepted(tmp_path: Path) -> None:
    assert load_robot(urdf(tmp_path)).dof == 2
    for name in ready_robots():
        load_robot(name)


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("origin", "0 0 1e300", "'elbow' is 1e.300 m|'elbow'|'fore'"),
        ("origin", "0 0 1e9", "<origin> has xyz"),
        ("origin", "300 0 0", "<origin> has xyz '300 0 0'"),
        ("axis", "0 0 0", "axis"),
        ("upper", "1e300", "limit"),
        ("velocity", "1e300", "<limit> has velocity"),
        ("mass", "-5", "<mass> has value"),
        ("mass", "1e300", "<mass> has value"),
        ("size", "1e300 1 1", "<box> has size"),
        ("size", "400 400 400", "<box> has size"),
        ("place", "0 0 1e200", "<origin> has xyz"),
    ],
)
def test_numbers_that_no_robot_has_are_refused(
    tmp_path: Path, part: str, value: str, said: str
) -> None:
    with pytest.raises(PallasError, match=said) as refused:
        load_robot(urdf(tmp_path, **{part: value}))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("where", "bad"),
    [("joint", np.nan), ("joint", np.inf), ("joint", 1e300), ("shape", np.nan), ("shape", np.inf)],
)
def test_an_arm_whose_kinematics_cannot_be_computed_is_not_engaged_and_not_led(
    where: str, bad: float
) -> None:
    """For such numbers from a source other than a file."""
    robot = load_robot("uarm")
    model = robot.model.copy()
    geometry = robot.geometry.copy()
    place = (
        model.jointPlacements[model.njoints - 1]
        if where == "joint"
        else geometry.geometryObjects[len(geometry.geometryObjects) - 1].placement
    )
    place.translation = np.array([0.0, 0.0, bad])
    broken = replace(robot, model=model, geometry=geometry)
    _, outside, pair = guard_of(broken).look(robot.q_ready, np.zeros(robot.dof))
    assert outside == np.inf or outside > 1e100
    arm = Teleoperation(broken, safety=SupervisorSettings(require_dead_man=False))
    arm.simulate_rest(NS, robot.q_ready)
    if arm.supervisor.engage(NS) == "":
        start = arm.tick(NS).q
        for k in range(1, 100):
            now = NS + k * 8_000_000
            arm.joints(now, now, robot.joint_names, start)
            arm.supervisor.goal(now, now, robot.q_ready + 0.3)
            command = arm.tick(now)
            assert np.abs(command.dq).max() == 0.0
    assert arm.supervisor.state is not SupervisorState.TRACKING or pair


def test_the_checker_takes_what_cannot_be_computed_for_a_violation() -> None:
    robot = load_robot("uarm")
    model = robot.model.copy()
    model.jointPlacements[model.njoints - 1].translation = np.array([0.0, 0.0, np.nan])
    times = np.arange(20, dtype=np.int64) * 8_000_000
    q = np.tile(robot.q_ready, (20, 1))
    tips = [robot.frame(arm.tip) for arm in robot.arms]
    found = {v.limit for v in check_tips(times, q, model, tips, limits_of(robot))}
    assert found == {"tip_speed", "workspace"}
    assert check_collisions(times, q, model, robot.geometry)
