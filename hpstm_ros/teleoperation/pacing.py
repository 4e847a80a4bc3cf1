"""Slows generated motion to an arm's speed limits.

An arm moves more slowly than a person. If its limits would clip a generated motion, a longer one is
requested from the generator, at most twice. If the result is still too fast, it is played slower.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.retarget.retargeter import Retargeter, RetargetSettings
from hpstm_ros.retarget.robots import RobotDescription
from hpstm_ros.teleoperation.recorded import frames
from hpstm_ros.teleoperation.teleoperation import limits_of
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion, resample
from pallas_ros.body.names import MODEL_RATE_HZ

F64 = NDArray[np.float64]
Generate = Callable[[float], Motion]
"""Generates a motion of the given duration in s."""

ITERATIONS: Final = 2
"""Number of requests after the first."""
_MARGIN = 0.9
"""Usable fraction of a speed limit; the supervisor needs the rest to catch up. As in
`hpstm_ros.retarget.demand`.
"""
_QUANTILE = 0.98
"""Of the speeds: 2 % of the samples may be clipped."""
_ENOUGH = 1.05
"""Largest stretch that does not justify another request."""


@dataclass(frozen=True)
class Paced:
    """A motion for an arm.

    Attributes:
        motion: 60 Hz.
        asked: duration of each request in s.
        stretch: factor by which it is played slower than generated, at least 1.
    """

    motion: Motion
    asked: tuple[float, ...]
    stretch: float


def needed_stretch(
    motion: Motion,
    robot: RobotDescription,
    side: str | None = None,
    settings: RetargetSettings | None = None,
    tip_speed: float | None = None,
) -> float:
    """The factor by which a motion must be slowed for the arm to follow it, at least 1.

    It is computed from unconstrained inverse kinematics.
    """
    limits = limits_of(robot, tip_speed)
    free = replace(settings or RetargetSettings(), iterations=6, speed_factor=20.0)
    retargeter = Retargeter(robot, side, free)
    goals = [goal for body in frames(motion) if (goal := retargeter.step(body)) is not None]
    if len(goals) < 3:
        raise PallasError("the motion holds too few valid frames for the arm to follow")
    q = np.array([goal.q for goal in goals])
    tips = np.array([goal.p_base_tip for goal in goals])
    settle = min(len(q) - 2, round(0.2 * motion.fps))  # transient from the start posture
    joint_speed = np.abs(np.diff(q[settle:], axis=0)) * motion.fps
    reach_speed = np.linalg.norm(np.diff(tips[settle:], axis=0), axis=-1) * motion.fps
    joints = np.quantile(joint_speed, _QUANTILE, axis=0) / (_MARGIN * limits.velocity)
    tip = np.quantile(reach_speed, _QUANTILE) / (_MARGIN * limits.tip_speed)
    return float(max(1.0, joints.max(), tip))


def pace(
    generate: Generate,
    seconds: float,
    longest: float,
    robot: RobotDescription,
    side: str | None = None,
    tip_speed: float | None = None,
) -> Paced:
    """A motion that the arm can follow.

    Args:
        generate: calls the generator.
        seconds: duration of the first request.
        longest: s, maximum duration of the generator.
        robot, side, tip_speed: as in `hpstm_ros.teleoperation.recorded.retarget_motion`.
    """
    asked = []
    for _ in range(1 + ITERATIONS):
        asked.append(seconds)
        motion = generate(seconds)
        stretch = needed_stretch(motion, robot, side, tip_speed=tip_speed)
        following = min(seconds * stretch, longest)
        if stretch <= _ENOUGH or following < _ENOUGH * seconds:
            break
        seconds = following
    return Paced(slower(motion, stretch), tuple(asked), stretch)


def slower(motion: Motion, stretch: float) -> Motion:
    """A motion that lasts ``stretch`` times as long, at 60 Hz."""
    return resample(replace(motion, fps=motion.fps / stretch, extra=None), MODEL_RATE_HZ)
