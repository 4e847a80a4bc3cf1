"""Posture scores: worked examples of the published tables."""

import numpy as np
import pytest
import standing_bodies as bodies

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from hpstm_ros.dynamics.ergonomics import Posture, reba, rula, score
from hpstm_ros.dynamics.human import Human
from hpstm_ros.dynamics.offline import analyse
from hpstm_ros.dynamics.strength import STRENGTH, loads
from hpstm_ros.dynamics.summary import summarise
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX

NONE = {"left": 0.0, "right": 0.0}


def posture(**given: object) -> Posture:
    neutral = {
        "trunk": 0.0, "neck": 5.0, "trunk_bent": False, "neck_bent": False, "upper_arm": 10.0,
        "abducted": False, "elbow": 80.0, "wrist": 0.0, "knee": 0.0, "both_legs": True,
    }  # fmt: skip
    return Posture(**{**neutral, **given})  # type: ignore[arg-type]


def test_neutral_postures_have_the_lowest_scores() -> None:
    assert rula(posture(), 0.0) == 1
    assert reba(posture(), 0.0) == 1


def test_a_posture_with_missing_joints_has_no_score() -> None:
    q = bodies.arms_down()
    q[5] = np.nan
    with pytest.raises(PallasError, match="missing orientations"):
        score(q, NONE)


def test_bridged_gaps_do_not_raise_the_scores() -> None:
    """Regression: frames without a body had the worst score of each table."""
    motion = bodies.still(bodies.arms_down(), 2.0)
    one = Human.of_skeleton(bodies.SKELETON, 75.0)
    whole = summarise(analyse(motion, one), motion).worst
    motion.positions[59:63] = np.nan
    motion.rotations[59:63] = np.nan
    found = analyse(motion, one)
    assert found.valid[59:63].all()
    assert summarise(found, motion).worst == whole


@pytest.mark.parametrize(
    ("given", "load", "expected"),
    [
        # arm 3, elbow 2, wrist 2: A 4; neck 2, trunk 3: B 4; grand score 4
        ({"upper_arm": 60.0, "elbow": 30.0, "wrist": 10.0, "neck": 15.0, "trunk": 30.0}, 0.0, 4),
        # the same with more than 10 kg: A 6, B 6
        ({"upper_arm": 60.0, "elbow": 30.0, "wrist": 10.0, "neck": 15.0, "trunk": 30.0}, 12.0, 7),
    ],
)
def test_rula(given: dict[str, object], load: float, expected: int) -> None:
    assert rula(posture(**given), load) == expected


@pytest.mark.parametrize(
    ("given", "load", "expected"),
    [
        # neck 2, trunk 3, legs 1: A 4; upper arm 3, lower arm 2, wrist 1: B 4; C 4
        ({"neck": 30.0, "trunk": 45.0, "upper_arm": 60.0, "elbow": 20.0}, 0.0, 4),
        # knees beyond 60 degrees: legs 3, A 6; more than 10 kg: A 8; B 4; C 9
        ({"neck": 30.0, "trunk": 45.0, "upper_arm": 60.0, "elbow": 20.0, "knee": 80.0}, 12.0, 9),
    ],
)
def test_reba(given: dict[str, object], load: float, expected: int) -> None:
    assert reba(posture(**given), load) == expected


@pytest.mark.parametrize(("load", "expected"), [(1.9, 1), (2.0, 2), (9.9, 2), (10.0, 3), (30.0, 3)])
def test_intermittent_loads_add_at_most_two_to_rula(load: float, expected: int) -> None:
    """Regression: more than 10 kg added 3, which the table gives to static and repeated loads."""
    assert rula(posture(), load) == expected


def test_ten_kilograms_add_one_to_reba() -> None:
    """Regression: exactly 10 kg counted as more than 10 kg."""
    given = {"neck": 30.0, "trunk": 45.0, "upper_arm": 60.0, "elbow": 20.0}
    # A 4 and 1, 1, or 2 for the load, B 4
    assert [reba(posture(**given), load) for load in (5.0, 10.0, 10.1)] == [5, 5, 7]


@pytest.mark.parametrize("neck", [-4.0, -1e-14, 0.0])
def test_a_neck_that_is_upright_to_rounding_is_not_extended(neck: float) -> None:
    """Regression: REBA counted any negative angle, even a rounding error, as extension."""
    bent = {"trunk": 45.0, "knee": 40.0}
    assert reba(posture(neck=neck, **bent), 0.0) == reba(posture(neck=5.0, **bent), 0.0)
    assert reba(posture(neck=-10.0, **bent), 0.0) > reba(posture(neck=5.0, **bent), 0.0)


def test_bodies_are_read_into_the_tables() -> None:
    upright = score(bodies.arms_down(), NONE)
    bent = score(bodies.arms_down(spine1=(0.0, 1.2, 0.0)), NONE)
    squat = score(
        bodies.arms_down(
            left_hip=(0, -1.7, 0), right_hip=(0, -1.7, 0), left_knee=(0, 2, 0), right_knee=(0, 2, 0)
        ),
        {"left": 6.0, "right": 6.0},
    )
    assert upright.rula <= 3
    assert upright.reba <= 2
    assert bent.reba > upright.reba
    assert squat.reba > upright.reba


def test_a_share_is_that_of_the_table() -> None:
    moment = np.zeros((22, 3))
    moment[JOINT_INDEX["spine1"]] = [0.0, 117.0, 0.0]
    lumbar = loads(moment, 80.0, "male")[0]
    assert lumbar.moment == 117.0
    assert lumbar.share == pytest.approx(117.0 / STRENGTH["male"].lumbar)
