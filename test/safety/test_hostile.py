"""Hostile stories through retargeting and supervisor on real robots: a small budget here, a million frames by benchmarks/hostile.py."""

import pytest

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from hpstm_ros.bench.hostile import HostileRun
from hpstm_ros.retarget.robots import load_robot

REGRESSIONS = [
    ("panda", 3, 200),  # a clock that jumped back between two calls moved the grid twice
    ("panda", 5, 300),  # between the places where a stop is looked at, the tip left the box by 0.1 mm
    ("panda", 100032, 200),  # an emergency stop while disengaged had the arm commanded to where it was measured to be
]


@pytest.mark.parametrize(("robot", "seed", "frames"), [*REGRESSIONS, ("uarm", 1, 200), ("ur5", 2, 150), ("g1", 4, 60)])
def test_no_limit_is_passed(robot: str, seed: int, frames: int) -> None:
    verdict = HostileRun(load_robot(robot), seed, frames).run()
    assert verdict.violations == []
    assert verdict.stop_begins_s <= 0.1


def test_stories_do_move_the_arm() -> None:
    """A supervisor that never moved would pass every limit."""
    verdict = HostileRun(load_robot("uarm"), 1, 120).run()
    assert verdict.led > 0.2
    assert verdict.commands > 100
