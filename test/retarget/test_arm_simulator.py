"""The simulated arm has the kinematics of the retargeted one and follows its commands."""

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs the extra [sim]")
pytest.importorskip("pinocchio", reason="needs the extra [robot]")

import mujoco
import pinocchio as pin

from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.simulation import mjcf
from hpstm_ros.simulation.arm import ArmSimulator, Faults, Trajectory
from pallas_ros.body.errors import PallasError

MS = 1_000_000


@pytest.mark.parametrize("name", ["uarm", "panda", "g1", "kinova"])
def test_kinematics_are_pinocchios(name: str) -> None:
    robot = load_robot(name)
    model = mjcf.build(robot)
    data = mujoco.MjData(model)
    expected = robot.model.createData()
    q = np.random.default_rng(0).uniform(robot.lower, robot.upper)
    data.qpos[:] = q
    mujoco.mj_forward(model, data)
    pin.forwardKinematics(robot.model, expected, q)
    for joint in range(1, robot.model.njoints):
        np.testing.assert_allclose(data.xpos[joint], expected.oMi[joint].translation, atol=1e-12)
        np.testing.assert_allclose(
            data.xmat[joint].reshape(3, 3), expected.oMi[joint].rotation, atol=1e-12
        )


def ramp(q: np.ndarray, by: float, seconds: float = 1.0) -> Trajectory:
    """A trajectory from rest to rest."""
    ends = np.array([q, q + by])
    zero = np.zeros((2, len(q)))
    return Trajectory(np.array([100 * MS, (100 + round(1000 * seconds)) * MS]), ends, zero, zero)


@pytest.mark.parametrize("name", ["uarm", "panda", "ur5"])
def test_it_follows_a_trajectory_and_stands_still_without(name: str) -> None:
    robot = load_robot(name)
    arm = ArmSimulator(robot)
    arm.advance(0)
    for k in range(1, 12):
        arm.advance(k * 8 * MS)
    np.testing.assert_allclose(arm.q, robot.q_ready, atol=5e-3)  # gravity does not pull it down
    trajectory = ramp(robot.q_ready, 0.1)
    arm.command(96 * MS, trajectory)
    worst = 0.0
    for time in range(104 * MS, 1600 * MS, 8 * MS):
        arm.advance(time)
        worst = max(worst, float(np.abs(arm.q - trajectory.at(time)[0]).max()))
    assert worst < 0.02
    np.testing.assert_allclose(arm.q, robot.q_ready + 0.1, atol=2e-3)


def test_quintic_between_points_is_what_the_points_say() -> None:
    t = np.linspace(0, 0.1, 5)
    times = (t * 1e9).astype(np.int64)
    q = t**3
    dq = 3 * t**2
    ddq = 6 * t
    trajectory = Trajectory(times, q[:, None], dq[:, None], ddq[:, None])
    for at in np.linspace(0.001, 0.099, 17):
        position, velocity = trajectory.at(round(at * 1e9))
        assert position[0] == pytest.approx(at**3, abs=1e-9)
        assert velocity[0] == pytest.approx(3 * at**2, abs=1e-6)


def test_a_trajectory_gives_the_same_in_any_order_of_times() -> None:
    numbers = np.random.default_rng(0).normal(size=(3, 4, 2))
    times = np.array([0, 8_000_000, 16_000_000, 40_000_000])
    kept = Trajectory(times, *numbers)
    for time in (3_000_000, 20_000_000, 4_000_000, 9_000_000, 3_000_000, 39_000_000):
        np.testing.assert_array_equal(kept.at(time), Trajectory(times, *numbers).at(time))


def test_faults() -> None:
    robot = load_robot("uarm")
    stuck = ArmSimulator(robot)
    late = ArmSimulator(robot)
    stuck.faults = Faults(stuck_joint="elbow_joint")
    late.faults = Faults(late_s=0.3)
    for arm in (stuck, late):
        arm.advance(0)
        arm.command(0, ramp(robot.q_ready, 0.2, seconds=0.3))
        for time in range(8 * MS, 400 * MS, 8 * MS):
            arm.advance(time)
    assert abs(stuck.q[2] - robot.q_ready[2]) < 0.02
    assert stuck.q[0] > robot.q_ready[0] + 0.1
    assert np.abs(late.q - robot.q_ready).max() < 0.05


def test_nonsense_is_refused() -> None:
    arm = ArmSimulator(load_robot("uarm"))
    zero = np.zeros((2, 4))
    with pytest.raises(PallasError, match="finite"):
        arm.command(0, Trajectory(np.array([0, 1]), np.full((2, 4), np.nan), zero, zero))
    with pytest.raises(PallasError, match="order"):
        arm.command(0, Trajectory(np.array([1, 0]), zero, zero, zero))
    with pytest.raises(PallasError, match="points"):
        arm.command(0, Trajectory(np.array([0, 1]), np.zeros((2, 3)), zero, zero))
