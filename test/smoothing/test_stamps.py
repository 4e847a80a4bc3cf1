"""Stamps that jump, clocks that are set, measurements from the future: the smoother always
recovers.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from hpstm_ros.smoothing.bodies import Bodies
from hpstm_ros.smoothing.smoother import Smoother, SmootherSettings
from hpstm_ros.smoothing.stamps import BELIEVED, StampGate
from pallas_ros.body import rotations
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton

NS = 1_000_000_000
START = 1_800_000_000 * NS
HOUR = 3600 * NS
METHODS = ("bypass", "kalman")


def body(stamp: int, **changes: object) -> BodyFrame:
    values: dict[str, object] = {
        "stamp": stamp,
        "rotations": np.tile(rotations.IDENTITY, (22, 1)),
        "positions": Skeleton.from_height().rest_positions,
        "covariance": None,
        "valid": np.ones(22, bool),
        "confidence": np.ones(22),
        "contacts": np.zeros(2),
        "newest_input": stamp,
    }
    return BodyFrame(**{**values, **changes})  # type: ignore[arg-type]


class Stream:
    """Bodies at 60 Hz through `Bodies`, 5 ms late, with ticks as in the node."""

    def __init__(self, method: str = "bypass") -> None:
        self.bodies = Bodies(SmootherSettings(method=method))
        self.now = START
        self.out: list[BodyFrame] = []

    def run(self, frames: int, ahead: int = 0, **changes: object) -> list[BodyFrame]:
        before = len(self.out)
        for _ in range(frames):
            self.now += NS // 60
            stamp = self.now - 5_000_000 + ahead
            self.out += self.bodies.push(body(stamp, **changes), self.now)
            self.out += self.bodies.tick(self.now)
        return self.out[before:]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ahead", [HOUR, -HOUR, 2 * NS])
def test_one_bad_stamp_is_refused_and_reported_and_costs_no_other_body(
    method: str, ahead: int
) -> None:
    stream = Stream(method)
    stream.run(60)
    assert all(abs(b.stamp - stream.now) < NS for b in stream.run(1, ahead))
    after = stream.run(60)
    assert len(after) >= 59
    assert "jumps" in stream.bodies.recent_remark(stream.now)
    assert "stamps leapt 1" in stream.bodies.figures()["operator"]
    stream.run(600)
    assert stream.bodies.recent_remark(stream.now) == ""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_clock_that_is_set_costs_a_few_bodies(method: str, jump: int) -> None:
    stream = Stream(method)
    stream.run(60)
    stream.now += jump
    assert len(stream.run(60)) >= 55
    other = Stream(method)  # the estimator's clock alone
    other.run(60)
    assert len(other.run(60, jump)) >= 60 - BELIEVED - 1


@pytest.mark.parametrize("method", METHODS)
def test_a_smoother_alone_comes_back_from_one_bad_stamp(method: str) -> None:
    smoother = Smoother(SmootherSettings(method=method))
    for k in range(30):
        smoother.push(body(START + k * NS // 60))
    smoother.push(body(START + HOUR))
    out = [b for k in range(31, 90) for b in smoother.push(body(START + k * NS // 60))]
    assert len(out) > 45
    assert smoother.failures["stamps gone back"] == 1
    assert any("jumped back" in remark for b in out for remark in b.remarks)


@pytest.mark.parametrize("method", METHODS)
def test_a_measurement_from_the_future_does_not_stay_the_newest(method: str) -> None:
    smoother = Smoother(SmootherSettings(method=method))
    for k in range(30):
        smoother.push(body(START + k * NS // 60))
    smoother.push(body(START + 30 * NS // 60, newest_input=START + HOUR))
    last = [b for k in range(31, 60) for b in smoother.push(body(START + k * NS // 60))][-1]
    assert last.newest_input == last.stamp


def test_a_body_that_does_not_say_when_it_was_measured_was_measured_at_its_stamp() -> None:
    stream = Stream()
    stream.run(10)
    assert stream.run(1, newest_input=0)[-1].newest_input == stream.out[-1].stamp


def test_an_old_measurement_stays_old_and_a_bridged_body_has_a_remark() -> None:
    """The arm's watchdog depends on it."""
    stream = Stream()
    stream.run(30)
    old = stream.now - 2 * NS
    assert stream.run(1, newest_input=old)[-1].newest_input == old
    newest = stream.run(5)[-1].newest_input
    for _ in range(12):
        stream.now += NS // 60
        stream.out += stream.bodies.tick(stream.now)
    assert stream.out[-1].stamp > newest
    assert stream.out[-1].newest_input == newest
    assert "extrapolated" in " ".join(stream.out[-1].remarks)


def test_a_joint_that_is_not_seen_is_not_to_be_followed_after_a_tenth_of_a_second() -> None:
    smoother = Smoother(SmootherSettings(method="kalman"))
    wrist = JOINT_INDEX["right_wrist"]
    confidence: NDArray[np.float64] = np.zeros(0)
    for k in range(90):
        positions = Skeleton.from_height().rest_positions.copy()
        if k >= 60:
            positions[wrist] = np.nan
        valid = np.isfinite(positions).all(-1)
        (out,) = smoother.push(body(START + k * NS // 60, positions=positions, valid=valid))
        confidence = np.append(confidence, out.confidence[wrist])
    assert confidence[59] > 0.9
    assert 0.0 < confidence[61] <= 0.3
    assert (confidence[66:] == 0.0).all()
    assert out.confidence[JOINT_INDEX["left_wrist"]] > 0.9


def test_a_gate_believes_what_persists_and_forgets_what_does_not() -> None:
    gate = StampGate()
    assert gate.take(START, START) == (True, "")
    for _ in range(3):
        for _ in range(BELIEVED - 1):
            assert not gate.take(START + HOUR, START)[0]
        assert gate.take(START, START) == (True, "")
    answers = [gate.take(START + HOUR, START)[0] for _ in range(BELIEVED)]
    assert answers == [False] * (BELIEVED - 1) + [True]
    assert gate.take(START + HOUR, START) == (True, "")


def test_leaps_in_all_directions_are_never_believed() -> None:
    gate = StampGate()
    rng = np.random.default_rng(0)
    gate.take(START, START)
    assert not any(
        gate.take(START + int(leap) * NS, START)[0]
        for leap in rng.integers(10, 10**6, 200) * rng.choice([-1, 1], 200)
    )
