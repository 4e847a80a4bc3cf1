"""Slows generated motion to an arm's speed limits.

An arm moves more slowly than a person. If its limits would clip a generated motion, a longer one is
requested from the generator, at most twice. Where the result is still too fast, and only there, it
is played slower: near a singular posture, an arm may briefly need a multiple of the time. A longer
motion that contains more movement instead of slower movement is discarded."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

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
T = TypeVar("T")
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
_MORE = 1.2
"""A longer motion is discarded if the arm needs this many times as long for it as for the shorter
one. Generators that ignore the duration give 2 and more (a walk of 10 s has more steps than one of
4 s, of the same speed), those that slow down about 1.
"""
_SMOOTH_FRAMES = 2.0
"""Standard deviation in frames of the filter of joint velocities before differentiation: inverse
kinematics at 60 Hz is accurate to 1e-4 rad, which would be 0.4 rad/s^2."""


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
    """Factors on the duration of each step between valid frames, (N, 2 joints + 1): by the joints'
    velocities and accelerations and the tip speed. NaN while the arm comes from the start posture.
    """
    limits = limits_of(robot, tip_speed)
    free = replace(settings or RetargetSettings(), iterations=6, speed_factor=20.0)
    retargeter = Retargeter(robot, side, free)
    goals = [goal for body in frames(motion) if (goal := retargeter.step(body)) is not None]
    if len(goals) < 3:
        raise PallasError("the motion has too few valid frames for the arm to follow")
    q = np.array([goal.q for goal in goals])
    tips = np.array([goal.p_base_tip for goal in goals])
    dq = np.diff(q, axis=0) * motion.fps
    joints = np.abs(dq) / (_MARGIN * limits.velocity)
    reach = np.linalg.norm(np.diff(tips, axis=0), axis=-1).reshape(len(joints), -1) * motion.fps
    ddq = np.gradient(gaussian_filter1d(dq, _SMOOTH_FRAMES, axis=0), axis=0) * motion.fps
    # a motion that lasts s times as long has 1/s^2 of the acceleration
    bends = np.sqrt(np.abs(ddq) / (_MARGIN * robot.acceleration))
    needs = np.concatenate((joints, reach / (_MARGIN * limits.tip_speed), bends), axis=1)
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

    def attempt(duration: float) -> tuple[tuple[Motion, F64], float]:
        motion = generate(duration)
        times = _times(motion, _needs(motion, robot, side, None, tip_speed))
        return (motion, times), float(times[-1])

    (motion, times), asked = settle(attempt, seconds, longest)
    return Paced(_played(motion, times), asked, float(times[-1] / max(motion.duration, 1e-6)))


def settle(
    attempt: Callable[[float], tuple[T, float]], seconds: float, longest: float
) -> tuple[T, tuple[float, ...]]:
    """Request a longer motion if the arm needs more time, at most twice.

    Args:
        attempt: maps a duration in s to a result and the time in s that the arm needs for it.
        seconds: duration of the first request.
        longest: s, maximum duration of a request.

    Returns:
        the best result and the durations requested. A longer motion for which the arm needs much
        longer than for the shorter one is discarded, because it contains more movement. If a longer
        request fails, the best result so far is returned.

    Raises:
        PallasError: the first request fails.
    """
    asked = [seconds]
    best, needed = attempt(seconds)
    for _ in range(ITERATIONS):
        following = min(needed, longest)
        if following <= _ENOUGH * asked[-1]:
            break
        asked.append(following)
        try:
            result, needs = attempt(following)
        except PallasError:
            break
        if needs > _MORE * needed:
            break
        best = result
        needed = needs
    return best, tuple(asked)


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
