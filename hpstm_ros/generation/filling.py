"""Fills gaps of a smoothed motion with the predicted body."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.expectation import Expectation, nothing
from hpstm_ros.generation.prediction import covariance_of
from hpstm_ros.generation.representation import FPS, FRAMES
from hpstm_ros.generation.takeover import bones_of
from pallas_ros.body import rotations
from pallas_ros.body.kinematics import forward_kinematics_matrices
from pallas_ros.body.motion import Motion, resample_path
from pallas_ros.body.names import JOINTS, MODEL_RATE_HZ
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]
Flags = NDArray[np.bool_]

LONGEST_S = 3.0
"""s, longest gap that is filled: the network's window is 4 s and must contain both sides."""
_EVERY = round(MODEL_RATE_HZ / FPS)


@dataclass
class Filled:
    """A motion with filled gaps.

    Attributes:
        motion: with ``filled`` (T,) among its extra arrays; filled frames are valid and have a
            covariance and confidence 0.
        gaps: number of gaps that were filled.
        left: number of gaps that were not: longer than `LONGEST_S`, or at the start or the end.
    """

    motion: Motion
    gaps: int
    left: int


def seen_frames(motion: Motion, frames: int) -> Flags:
    """Whether a body was measured at each instant (frames,) of the 60 Hz grid."""
    index = np.round(np.arange(frames) * motion.fps / MODEL_RATE_HZ).astype(int)
    seen = np.asarray(np.isfinite(motion.positions).all(-1).any(-1))
    if motion.valid is not None:
        seen &= motion.valid
    return np.asarray(seen[np.minimum(index, len(motion) - 1)])


def fill(smooth: Motion, seen: Flags, expectation: Expectation) -> Filled:
    """Fill the gaps of a smoothed motion.

    Args:
        smooth: at 60 Hz; ``valid`` is False where the smoother had lost the body.
        seen: (T,) whether a body was measured; a gap extends from the last measured frame before
            a run of invalid frames to the first measured frame after it.
        expectation: the network.
    """
    valid = np.ones(len(smooth), dtype=bool) if smooth.valid is None else smooth.valid.copy()
    filled = np.zeros(len(smooth), dtype=bool)
    extra = dict(smooth.extra or {})
    confidence = np.array(extra.get("confidence", np.ones((len(smooth), len(JOINTS)))))
    covariance = smooth.position_covariance
    if covariance is None:
        covariance = np.full((len(smooth), len(JOINTS), 3, 3), np.nan)
    out = Motion(
        smooth.fps,
        smooth.positions.copy(),
        smooth.rotations.copy(),
        position_covariance=covariance.copy(),
        valid=valid,
        extra={**extra, "confidence": confidence, "filled": filled},
    )
    counts = {True: 0, False: 0}
    for last, following in _gaps(valid.copy(), seen):
        possible = (
            last >= 0 and following < len(smooth) and following - last <= LONGEST_S * MODEL_RATE_HZ
        )
        counts[possible] += 1
        if possible:
            _fill_one(out, last, following, expectation)
            inside = slice(last + 1, following)
            filled[inside] = True
            valid[inside] = True
            confidence[inside] = 0.0
    if not filled.any():
        out.position_covariance = smooth.position_covariance
    return Filled(out, counts[True], counts[False])


def _gaps(valid: Flags, seen: Flags) -> list[tuple[int, int]]:
    """For each run of invalid frames, the last measured frame before and the first after it; -1
    and T if there is none.
    """
    frames = np.arange(len(valid))
    measured = seen & valid
    last = np.maximum.accumulate(np.where(measured, frames, -1))
    backwards = np.where(measured, frames, len(valid))[::-1]
    following = np.minimum.accumulate(backwards)[::-1]
    ends = zip(last[~valid].tolist(), following[~valid].tolist())
    return list(dict.fromkeys(ends))


def _fill_one(motion: Motion, last: int, following: int, expectation: Expectation) -> None:
    """Replace the frames between two measured ones."""
    inside = slice(last + 1, following)
    if (following - last) % _EVERY:  # both ends have to lie on the grid of 30 Hz
        if following + 1 < len(motion):
            following += 1
        else:
            last = max(last - 1, 0)
    length = (following - last) // _EVERY + 1
    before = min((FRAMES - length) // 2, last // _EVERY)
    after = min(FRAMES - length - before, (len(motion) - 1 - following) // _EVERY)
    picked = last + _EVERY * np.arange(-before, length + after)
    scale = rep.body_scale(motion.positions[picked[: before + 1]])
    q = motion.rotations[picked]
    root = motion.positions[picked, 0] / scale
    place = rep.place_of(q[before, 0], root[before])
    standing = rep.estimated_contacts(motion.positions[picked], FPS)
    known, there = nothing(1)
    known[0, : len(picked)] = rep.encode(q, root, standing, place)
    there[0, : len(picked)] = True
    there[0, before + 1 : before + length - 1] = False
    mean, deviation = expectation.expect(known, there)
    part = slice(before, before + length)
    q_mean, root_mean, _ = rep.decode(mean[0, part], place)
    q_new, root_new = (
        np.asarray(x, dtype=np.float64)
        for x in resample_path(q_mean, root_mean * scale, FPS, MODEL_RATE_HZ)
    )
    new = slice(inside.start - last, inside.stop - last)
    motion.rotations[inside] = rotations.normalise(q_new[new])
    motion.positions[inside] = _posed(motion, last, following, q_new, root_new)[new]
    assert motion.position_covariance is not None
    at = scale * np.repeat(deviation[0, part].astype(np.float64), _EVERY, axis=0)[new]
    motion.position_covariance[inside] = covariance_of(at, place.heading)


def _posed(motion: Motion, last: int, following: int, q: F64, root: F64) -> F64:
    """Positions (n, 22, 3) m with bone lengths interpolated between both ends of the gap."""
    share = np.linspace(0.0, 1.0, len(q))
    ends = [bones_of(motion.positions[k], motion.rotations[k]) for k in (last, following)]
    R = rotations.to_matrix(q)
    default = Skeleton.from_height()
    poses = []
    for part, here, pelvis in zip(share, R, root, strict=True):
        bones = (1 - part) * ends[0] + part * ends[1]
        skeleton = Skeleton(bones, default.hand, default.head, default.sole)
        poses.append(forward_kinematics_matrices(skeleton, here, pelvis))
    return np.stack(poses)
