"""The objective of the inverse kinematics is Pink's, computed with less overhead."""

import numpy as np
import pytest

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

import pink

from hpstm_ros.bench.rows import reaching
from hpstm_ros.retarget.retargeter import Retargeter
from hpstm_ros.retarget.robots import load_robot, ready_robots
from hpstm_ros.teleoperation.recorded import frames
from pallas_ros.body.names import MODEL_RATE_HZ

BODIES = frames(reaching(2.0))


@pytest.mark.parametrize("name", ready_robots())
def test_the_objective_is_that_of_pink(name: str) -> None:
    robot = load_robot(name)
    retargeter = Retargeter(robot)
    random = np.random.default_rng(0)
    dt = 1.0 / MODEL_RATE_HZ / retargeter.settings.iterations
    tasks = [task for arm in retargeter._arms for task in arm.tasks] + [retargeter._posture]
    for body in BODIES[::15]:
        assert retargeter.step(body) is not None  # sets the targets
        retargeter._configuration.update(random.uniform(robot.lower, robot.upper))
        nearest = max(retargeter._nearness(k) for k in range(len(retargeter._arms)))
        damping = 1e-9 + 1e-3 * nearest**2
        expected = pink.build_ik(retargeter._configuration, tasks, dt, damping, limits=[])
        H, c = retargeter._objective()
        np.testing.assert_allclose(H, expected.P, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(c, expected.q, rtol=1e-9, atol=1e-9)
