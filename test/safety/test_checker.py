"""Tests of the independent checker: commands within the limits pass, and each kind of violation is
found.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpstm_ros.safety.checker import check, check_tips, executed
from hpstm_ros.safety.limits import Limits

N = 200
PERIOD = 8_000_000


def limits(n: int = 2) -> Limits:
    one = np.ones(n)
    return Limits(
        tuple(f"j{k}" for k in range(n)),
        -2 * one,
        2 * one,
        one,
        5 * one,
        100 * one,
        0.25,
        -5 * np.ones(3),
        5 * np.ones(3),
    )


def smooth() -> tuple[np.ndarray, np.ndarray]:
    """A motion well within the limits: at most velocity 0.8, acceleration 1.6, jerk 3.2."""
    times = np.arange(N, dtype=np.int64) * PERIOD
    return times, 0.4 * np.sin(2 * times * 1e-9)[:, None] * np.array([1.0, -0.5])


def kinds(times: np.ndarray, q: np.ndarray) -> set[str]:
    return {violation.limit for violation in check(times, q, limits())}


def test_motion_within_limits_passes() -> None:
    times, q = smooth()
    assert kinds(times, q) == set()


def test_uneven_spacing_of_good_motion_passes() -> None:
    times = np.cumsum(np.random.default_rng(0).integers(2_000_000, 30_000_000, N)).astype(np.int64)
    assert check(times, 0.4 * np.sin(2 * times * 1e-9)[:, None] * np.ones(2), limits()) == []


def test_position_beyond_limit_is_found() -> None:
    times, q = smooth()
    assert "position:j1" in kinds(times, q + np.array([0.0, 2.0]))


def test_a_step_is_found() -> None:
    times, q = smooth()
    q[100:, 0] += 0.05
    assert {"velocity:j0", "acceleration:j0", "jerk:j0"} <= kinds(times, q)


def test_a_step_in_velocity_is_found_though_velocity_is_kept() -> None:
    times = np.arange(N, dtype=np.int64) * PERIOD
    q = np.abs(np.linspace(-0.5, 0.5, N))[:, None] * np.ones(2) * 0.5
    found = kinds(times, q)
    assert "velocity:j0" not in found
    assert {"acceleration:j0", "jerk:j0"} <= found


def test_a_step_in_acceleration_is_found_though_acceleration_is_kept() -> None:
    times = np.arange(N, dtype=np.int64) * PERIOD
    t = times * 1e-9
    q = np.where(t < 0.2, 0.5 * 2.0 * t**2, 0.04 + 0.4 * (t - 0.2))[:, None] * np.ones(2)
    found = kinds(times, q)
    assert "acceleration:j0" not in found
    assert "jerk:j0" in found


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_found(bad: float) -> None:
    times, q = smooth()
    q[50, 1] = bad
    assert kinds(times, q) == {"finite"}


def test_reversed_time_is_found() -> None:
    times, q = smooth()
    times[10] = times[8]
    assert kinds(times, q) == {"time:order"}


@given(st.integers(5, N - 5), st.integers(0, 1), st.floats(1e-3, 1.0))
def test_no_single_sample_can_be_off(row: int, joint: int, by: float) -> None:
    times, q = smooth()
    q[row, joint] += by
    assert kinds(times, q)


def test_executed_stream_lets_later_messages_replace_earlier_ones() -> None:
    first = (np.array([0, 10, 20, 30]), np.array([[0.0], [1.0], [2.0], [3.0]]))
    second = (np.array([10, 20]), np.array([[1.0], [5.0]]))
    times, q = executed([first, second])
    assert times.tolist() == [0, 10, 20]
    assert q.ravel().tolist() == [0.0, 1.0, 5.0]


def test_tip_speed_and_workspace_are_found() -> None:
    pin = pytest.importorskip("pinocchio")
    model = pin.Model()
    joint = model.addJoint(0, pin.JointModelPX(), pin.SE3.Identity(), "x")
    tip = model.addFrame(pin.Frame("tip", joint, pin.SE3.Identity(), pin.FrameType.OP_FRAME))
    box = Limits(
        ("x",),
        np.array([-2.0]),
        np.array([2.0]),
        np.ones(1),
        np.ones(1),
        np.ones(1),
        0.25,
        -0.3 * np.ones(3),
        0.3 * np.ones(3),
    )
    times = np.arange(100, dtype=np.int64) * PERIOD
    t = (times * 1e-9)[:, None]
    assert check_tips(times, 0.24 * t, model, [tip], box) == []
    assert {v.limit for v in check_tips(times, 0.26 * t, model, [tip], box)} == {"tip_speed"}
    assert {v.limit for v in check_tips(times, 0.2 + 0.24 * t, model, [tip], box)} == {"workspace"}
