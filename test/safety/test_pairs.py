"""Pairs that are not tested because they were far apart must not change any result."""

import numpy as np
import pinocchio as pin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hpstm_ros.retarget.collision import MARGIN_M, margin_data
from hpstm_ros.retarget.robots import RobotDescription, load_robot
from hpstm_ros.safety.pairs import NEAR_M, Pairs, leverage_of_pairs

F64 = NDArray[np.float64]
ROBOTS = {name: load_robot(name) for name in ("panda", "so101", "g1")}
STEPS = st.sampled_from([0.0, 1e-4, 0.01, 0.05, 0.2, 3.0])


def walk(robot: RobotDescription, seed: int, steps: list[float]) -> F64:
    """Postures (K, n) rad that differ by up to each of ``steps`` rad, within the joints' limits."""
    random = np.random.default_rng(seed)
    q = [random.uniform(robot.lower, robot.upper)]
    for step in steps:
        q.append(np.clip(q[-1] + random.normal(0.0, step, robot.dof), robot.lower, robot.upper))
    return np.array(q)


class Everything:
    """Tests all pairs of a robot in each posture."""

    def __init__(self, robot: RobotDescription) -> None:
        self._robot = robot
        self._data = robot.model.createData()
        self._geometry = margin_data(robot.geometry, MARGIN_M + NEAR_M)

    def distances(self, q: F64) -> list[float]:
        """Distances in m, ascending, of the pairs that are near at ``q`` (n,)."""
        robot = self._robot
        pin.computeCollisions(robot.model, self._data, robot.geometry, self._geometry, q, False)
        results = [result for result in self._geometry.collisionResults if result.isCollision()]
        return sorted(result.getContact(0).penetration_depth for result in results)


@pytest.mark.parametrize("name", ROBOTS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), steps=st.lists(STEPS, min_size=1, max_size=12))
def test_skipped_tests_change_nothing(name: str, seed: int, steps: list[float]) -> None:
    robot = ROBOTS[name]
    everything = Everything(robot)
    pairs = Pairs(robot.model, robot.geometry, MARGIN_M)
    for number, q in enumerate(walk(robot, seed, steps)):
        near = everything.distances(q)
        assert bool(pairs.touching(q)) == (min(near, default=1.0) < MARGIN_M)
        if number % 2:  # what one call measures is used by the others
            rooms = [room + MARGIN_M + 0.004 for _, room, _ in pairs.barriers(q)]
            np.testing.assert_allclose(rooms, near[:6], atol=1e-5)


@pytest.mark.parametrize("name", ROBOTS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), steps=st.lists(STEPS, min_size=2, max_size=8))
def test_a_clear_path_has_no_pair_too_close(name: str, seed: int, steps: list[float]) -> None:
    robot = ROBOTS[name]
    everything = Everything(robot)
    pairs = Pairs(robot.model, robot.geometry, MARGIN_M)
    path = walk(robot, seed, steps)
    least = [min(everything.distances(q), default=1.0) for q in path]
    assert not pairs.clear(path), "nothing is known yet"
    pairs.barriers(path[0])
    assert not pairs.clear(path) or min(least) > MARGIN_M
    assert pairs.clear(path[:1]) or least[0] < MARGIN_M + 0.002, "the posture itself is known"


def test_unknown_postures_do_not_leave_pairs_untested() -> None:
    robot = ROBOTS["panda"]
    pairs = Pairs(robot.model, robot.geometry, MARGIN_M)
    folded = np.array([0.0, 1.5, 0.0, -3.0, 0.0, 0.0, 0.0])
    assert min(Everything(robot).distances(folded)) < MARGIN_M
    for bad in (np.nan, np.inf):
        q = robot.q_ready.copy()
        q[2] = bad
        with np.errstate(invalid="ignore"):
            pairs.touching(q)
            assert not pairs.clear(q[None])
        assert pairs.touching(folded)
        assert not pairs.clear(folded[None])


def separations(robot: RobotDescription, q: F64) -> F64:
    """(P,) m: the distance of every pair at ``q`` (n,) rad."""
    data = robot.model.createData()
    geometry = robot.geometry.createData()
    pin.computeDistances(robot.model, data, robot.geometry, geometry, q)
    return np.array([result.min_distance for result in geometry.distanceResults])


@pytest.mark.parametrize("name", ROBOTS)
def test_the_leverage_bounds_the_change_of_every_distance_closely(name: str) -> None:
    robot = ROBOTS[name]
    leverage = leverage_of_pairs(robot.model, robot.geometry)
    random = np.random.default_rng(0)
    used = 0.0
    for _ in range(150):
        q = random.uniform(robot.lower, robot.upper)
        dq = np.zeros(robot.dof)
        dq[random.integers(robot.dof)] = 0.02
        before = separations(robot, q)
        after = separations(robot, q + dq)
        apart = (before > 0.0) & (after > 0.0)
        change = np.abs(after - before)[apart]
        bound = (dq @ leverage)[apart]
        assert (change <= bound + 1e-5).all()
        used = max(used, float((change[bound > 0] / bound[bound > 0]).max(initial=0.0)))
    assert used > 0.6, "a bound that is several times too large would skip nothing"
