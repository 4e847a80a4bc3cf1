"""Motion input of the alignment model: 10 Hz frames relative to the body, points in the world."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion, resample
from pallas_ros.body.names import JOINT_INDEX, JOINTS, MIRROR
from pallas_ros.body.skeleton import body_scale

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

RATE_HZ: Final = 10.0
"""Hz. Actions last a second or more; speeds are computed at 30 Hz, to retain faster motion."""
_FINE_HZ: Final = 30.0
_STEP: Final = round(_FINE_HZ / RATE_HZ)
FRAMES: Final = 40
"""Frames of a window: 4 s."""
SHORTEST_FRAMES: Final = 10
"""Frames of the shortest window that is scored: 1 s."""

_ENDS: Final = ("head", "left_wrist", "right_wrist", "left_foot", "right_foot")
_ENDS_AT: Final = [JOINT_INDEX[name] for name in _ENDS]
_FEET_AT: Final = [JOINT_INDEX[name] for name in ("left_foot", "right_foot")]
_BODY: Final = 3 * (len(JOINTS) - 1)

POINTS: Final = (
    "pelvis",
    "head",
    "left_wrist",
    "right_wrist",
    "left_knee",
    "right_knee",
    "left_foot",
    "right_foot",
)
"""Joints that are compared with the boxes of a scene."""
POINTS_AT: Final = [JOINT_INDEX[name] for name in POINTS]

WIDTH: Final = _BODY + 3 + 1 + 1 + 3 * len(_ENDS) + 2
"""Number of values per frame (85): joints relative to the pelvis; velocity, turn rate and height of
the pelvis; velocities of head, hands and feet relative to it; speeds of the feet in the world."""


@dataclass(frozen=True)
class Movement:
    """A motion at 10 Hz, of a body of the default height.

    Attributes:
        features: (T, 85), in the heading frame of each frame.
        points: (T, 8, 3) m, `POINTS` in the world, divided by ``scale``, the floor at z = 0.
        heading: (T,) rad, of the pelvis.
        valid: (T,) whether each frame is valid.
        scale: size of the body relative to the default; the points are divided by it.
        floor: m, height of the floor in the world, which was subtracted from the points.
    """

    features: F32
    points: F32
    heading: F32
    valid: NDArray[np.bool_]
    scale: float = 1.0
    floor: float = 0.0

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.features)


def movement(motion: Motion) -> Movement:
    """Convert a motion of any rate and body size to a `Movement`.

    Invalid frames repeat the last valid one.

    Raises:
        PallasError: the motion has fewer than two valid frames.
    """
    finite = np.isfinite(motion.positions).all((1, 2)) & np.isfinite(motion.rotations).all((1, 2))
    valid = np.asarray(finite, np.bool_)
    if motion.valid is not None:
        valid &= motion.valid
    if valid.sum() < 2:
        raise PallasError("the motion has fewer than two valid frames: smooth it first")
    held = np.maximum.accumulate(np.where(valid, np.arange(len(valid)), np.argmax(valid)))
    whole = Motion(motion.fps, motion.positions[held], motion.rotations[held], valid=valid)
    fine = whole if motion.fps == _FINE_HZ else resample(whole, _FINE_HZ)
    q_world_pelvis = rotations.normalise(fine.rotations[:, 0])
    kept = np.ones(len(fine), np.bool_) if fine.valid is None else fine.valid
    scale = body_scale(whole.positions)
    return from_positions(fine.positions, np.asarray(q_world_pelvis, np.float64), kept, scale)


def from_positions(
    p_world: F64, q_world_pelvis: F64, valid: NDArray[np.bool_], scale: float = 1.0
) -> Movement:
    """Like `movement`, from positions (T, 22, 3) m and pelvis orientations (T, 4) xyzw at 30 Hz.

    Args:
        p_world: (T, 22, 3) m.
        q_world_pelvis: (T, 4) xyzw.
        valid: (T,) whether each frame is valid.
        scale: size of the body relative to the default (`body_scale`).
    """
    moved = _of_default_body(p_world / scale, q_world_pelvis, valid)
    return replace(moved, scale=scale, floor=scale * moved.floor)


def _of_default_body(p_world: F64, q_world_pelvis: F64, valid: NDArray[np.bool_]) -> Movement:
    heading = np.asarray(rotations.heading(q_world_pelvis), np.float64)
    # the lowest joint is a foot, or another joint on the floor; the 5 % quantile ignores outliers
    floor = float(np.quantile(p_world[..., 2].min(1), 0.05))
    turn = _turns(-heading)
    velocity = np.gradient(p_world, axis=0) * _FINE_HZ if len(p_world) > 1 else 0 * p_world
    from_pelvis = p_world[:, 1:] - p_world[:, :1]
    ends = velocity[:, _ENDS_AT] - velocity[:, :1]
    rate = np.gradient(np.unwrap(heading)) * _FINE_HZ if len(heading) > 1 else 0 * heading

    def local(v: F64) -> F64:
        turned: F64 = np.einsum("tij,tkj->tki", turn, v)
        return turned.reshape(len(v), -1)

    features = np.concatenate(
        (
            local(from_pelvis),
            local(velocity[:, :1]),
            np.clip(rate, -10, 10)[:, None],
            p_world[:, 0, 2:] - floor,
            local(ends),
            np.linalg.norm(velocity[:, _FEET_AT], axis=-1),
        ),
        axis=1,
    )
    points = p_world[:, POINTS_AT] - np.array([0.0, 0.0, floor])
    pick = slice(None, None, _STEP)
    return Movement(
        features[pick].astype(np.float32),
        points[pick].astype(np.float32),
        heading[pick].astype(np.float32),
        np.asarray(valid[pick]),
        floor=floor,
    )


def _turns(angle: F64) -> F64:
    c = np.cos(angle)
    s = np.sin(angle)
    o = np.zeros_like(angle)
    rows = np.stack((c, -s, o, s, c, o, o, o, o + 1), axis=-1)
    return np.asarray(rows.reshape(*angle.shape, 3, 3))


_FLIP: Final = np.array([1.0, -1.0, 1.0], np.float32)


def mirrored(features: F32) -> F32:
    """Features (..., 85) of the mirrored motion: left and right exchanged."""
    head = features.shape[:-1]
    body = features[..., :_BODY].reshape(*head, -1, 3)
    body = body[..., [i - 1 for i in MIRROR[1:]], :] * _FLIP
    ends = features[..., _BODY + 5 : _BODY + 5 + 3 * len(_ENDS)].reshape(*head, -1, 3)
    ends = ends[..., [0, 2, 1, 4, 3], :] * _FLIP
    return np.concatenate(
        (
            body.reshape(*head, -1),
            features[..., _BODY : _BODY + 3] * _FLIP,
            -features[..., _BODY + 3 : _BODY + 4],
            features[..., _BODY + 4 : _BODY + 5],
            ends.reshape(*head, -1),
            features[..., -1:],
            features[..., -2:-1],
        ),
        axis=-1,
    )


def windows(frames: int, length: int = FRAMES, step: int = 10) -> list[tuple[int, int]]:
    """Ranges [start, stop) of windows over ``frames`` frames; a single one if these are few."""
    if frames <= length:
        return [(0, frames)]
    starts = list(range(0, frames - length, step))
    return [(start, start + length) for start in (*starts, frames - length)]


def padded(features: F32, start: int, stop: int) -> tuple[F32, F32]:
    """Network input of a window: features (40, 85), zero-padded, and mask (40,), 1 where valid."""
    out = np.zeros((FRAMES, WIDTH), np.float32)
    there = np.zeros(FRAMES, np.float32)
    count = min(stop - start, FRAMES)
    out[:count] = features[start : start + count]
    there[:count] = 1.0
    return out, there
