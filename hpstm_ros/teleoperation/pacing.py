"""Slows generated motion to an arm's speed limits.

An arm moves more slowly than a person. If its limits would clip a generated motion, a longer one is
requested from the generator, at most twice. Where the result is still too fast, and only there, it
is played slower: near a singular posture, an arm may briefly need a multiple of the time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from hpstm_ros.retarget.retargeter import Retargeter
from hpstm_ros.retarget.robots import RobotDescription
from hpstm_ros.retarget.settings import RetargetSettings
from hpstm_ros.teleoperation.recorded import frames
from hpstm_ros.teleoperation.teleoperation import limits_of
from pallas_ros.body import rotations
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
_SETTLE_S = 0.2
"""s, the transient from the start posture, which the arm covers before the motion begins."""
_ROUND_S = 0.4
"""s, also slowed before and after a fast moment, since the arm has to catch up. On two motions of
the Panda, the mean tip error is 16 mm with 0.1 s, 7 mm with 0.4 s, and 3 mm if the whole motion is
slowed uniformly, which takes 1.4 and 2.4 times as long.
"""
_ENOUGH = 1.05
"""Largest stretch that does not justify another request."""


@dataclass(frozen=True)
class Paced:
    """A motion for an arm.

    Attributes:
        motion: 60 Hz.
        asked: duration of each request in s.
        stretch: how many times as long it is played as generated, at least 1.
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
    return _largest(_needs(motion, robot, side, settings, tip_speed))


def _needs(
    motion: Motion,
    robot: RobotDescription,
    side: str | None,
    settings: RetargetSettings | None,
    tip_speed: float | None,
) -> F64:
    """Ratio of speed and limit of each step between valid frames, (N, joints and the tip); NaN
    while the arm comes from the start posture.
    """
    limits = limits_of(robot, tip_speed)
    free = replace(settings or RetargetSettings(), iterations=6, speed_factor=20.0)
    retargeter = Retargeter(robot, side, free)
    goals = [goal for body in frames(motion) if (goal := retargeter.step(body)) is not None]
    if len(goals) < 3:
        raise PallasError("the motion has too few valid frames for the arm to follow")
    q = np.array([goal.q for goal in goals])
    tips = np.array([goal.p_base_tip for goal in goals])
    joints = np.abs(np.diff(q, axis=0)) * motion.fps / (_MARGIN * limits.velocity)
    reach = np.linalg.norm(np.diff(tips, axis=0), axis=-1).reshape(len(joints), -1) * motion.fps
    needs = np.concatenate((joints, reach / (_MARGIN * limits.tip_speed)), axis=1)
    needs[: min(len(needs) - 1, round(_SETTLE_S * motion.fps))] = np.nan
    return np.asarray(needs, dtype=np.float64)


def _largest(needs: F64) -> float:
    """The stretch that leaves at most 2 % of the samples to be clipped."""
    return float(max(1.0, np.nanquantile(needs, _QUANTILE, axis=0).max()))


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
        needs = _needs(motion, robot, side, None, tip_speed)
        times = _times(motion, needs)
        stretch = float(times[-1] / max(motion.duration, 1e-6))
        following = min(seconds * stretch, longest)
        if stretch <= _ENOUGH or following < _ENOUGH * seconds:
            break
        seconds = following
    return Paced(_played(motion, times), tuple(asked), stretch)


def _times(motion: Motion, needs: F64) -> F64:
    """Time (T,) s at which each frame is played, slower only where the arm needs it.

    If there are invalid frames, the whole motion is slowed uniformly.
    """
    largest = _largest(needs)
    steps = len(motion) - 1
    factor = np.full(steps, largest)
    if len(needs) == steps:
        width = max(round(_ROUND_S * motion.fps), 1)
        around = maximum_filter1d(
            np.clip(np.nan_to_num(needs.max(axis=1)), 1.0, largest), 2 * width + 1
        )
        factor = gaussian_filter1d(around, 0.5 * width, mode="nearest")
    return np.concatenate(([0.0], np.cumsum(factor))) / motion.fps


def _played(motion: Motion, times: F64) -> Motion:
    """A motion at 60 Hz whose frames are shown at ``times`` (T,) s."""
    grid = np.arange(int(np.floor(times[-1] * MODEL_RATE_HZ + 1e-6)) + 1) / MODEL_RATE_HZ
    at = np.interp(grid, times, np.arange(len(motion)))
    before = np.minimum(at.astype(int), max(len(motion) - 2, 0))
    after = np.minimum(before + 1, len(motion) - 1)
    part = at - before
    valid = None
    if motion.valid is not None:
        valid = motion.valid[before] & motion.valid[after]
    q = rotations.slerp(
        motion.rotations[before],
        motion.rotations[after],
        np.broadcast_to(part[:, None], (len(at), motion.rotations.shape[1])),
    )
    share = part[:, None, None]
    p = motion.positions[before] * (1 - share) + motion.positions[after] * share
    return Motion(MODEL_RATE_HZ, p, np.asarray(q, dtype=np.float64), valid=valid)


def slower(motion: Motion, stretch: float) -> Motion:
    """A motion that lasts ``stretch`` times as long, at 60 Hz."""
    return resample(replace(motion, fps=motion.fps / stretch, extra=None), MODEL_RATE_HZ)
