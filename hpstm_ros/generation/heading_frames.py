"""Frames that are independent of the position and heading of the body: the input of the tokeniser.

The root path is given by a displacement and a heading change per frame, in the heading frame of the
pelvis; joint orientations are relative to this heading. Equal motions have equal values wherever
they take place.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import representation as world
from pallas_ros.body import rotations
from pallas_ros.body.names import JOINTS
from pallas_ros.body.rotations import Array

F32 = NDArray[np.float32]

STEP: Final = slice(0, 2)
"""Displacement of the pelvis since the previous frame, forward and to the left, m."""
TURN: Final = 2
"""Change of the heading since the previous frame, rad."""
HEIGHT: Final = 3
"""Height of the pelvis above the floor, m."""
R6D: Final = slice(4, 4 + 6 * len(JOINTS))
"""r6d of each joint's orientation, relative to the heading."""
CONTACTS: Final = slice(R6D.stop, R6D.stop + 2)
"""Contact of left and right foot, 0 to 1."""
FEATURES: Final = CONTACTS.stop
"""Number of values per frame (138)."""


def encode(q_world_joint: Array, p_world_pelvis: Array, contacts: Array) -> F32:
    """Convert to frames (T, 138), at 30 Hz.

    Args:
        q_world_joint: (T, 22, 4) global orientations, xyzw.
        p_world_pelvis: (T, 3) m.
        contacts: (T, 2), 0 to 1.

    The displacement and the heading change of the first frame are zero.
    """
    heading = np.unwrap(np.asarray(rotations.heading(q_world_joint[:, 0]), dtype=np.float64))
    back = np.asarray(rotations.about_z(-heading))
    step = np.diff(p_world_pelvis, axis=0, prepend=p_world_pelvis[:1])
    step = rotations.rotate(back, step)[:, :2]
    turn = np.diff(heading, prepend=heading[:1])
    q = rotations.multiply(np.broadcast_to(back[:, None], q_world_joint.shape), q_world_joint)
    r6d = rotations.to_r6d(rotations.to_matrix(q)).reshape(len(q), -1)
    return np.concatenate(
        (step, turn[:, None], p_world_pelvis[:, 2:], r6d, contacts), axis=1, dtype=np.float32
    )


def to_world(frames: Array) -> F32:
    """Convert frames (..., T, 138) to features (..., T, 137) of `representation`, starting at the
    origin and facing +x.
    """
    frames = np.asarray(frames, dtype=np.float64)
    heading = np.cumsum(frames[..., TURN], axis=-1)
    heading = heading - heading[..., :1]
    turn = np.asarray(rotations.about_z(heading))
    step = np.concatenate((frames[..., STEP], np.zeros_like(frames[..., :1])), axis=-1)
    step = rotations.rotate(turn, step)
    path = np.cumsum(step[..., :2], axis=-2)
    path = path - path[..., :1, :]
    r6d = frames[..., R6D].reshape(*frames.shape[:-1], len(JOINTS), 6)
    R = rotations.to_matrix(turn)[..., None, :, :] @ rotations.from_r6d(r6d)
    r6d = rotations.to_r6d(R).reshape(*frames.shape[:-1], -1)
    parts = (path, frames[..., HEIGHT : HEIGHT + 1], r6d, frames[..., CONTACTS])
    out = np.concatenate(parts, axis=-1, dtype=np.float32)
    assert out.shape[-1] == world.FEATURES
    return out


def mirrored(frames: Array) -> F32:
    """Frames (..., 138) of the mirrored motion: left and right exchanged."""
    steps = frames[..., STEP]
    height = frames[..., HEIGHT : HEIGHT + 1]
    root = np.concatenate((np.zeros_like(steps), height), axis=-1)
    rest = np.concatenate((root, frames[..., R6D], frames[..., CONTACTS]), axis=-1)
    flipped = world.mirrored(rest)
    return np.concatenate(
        (
            steps * np.array([1.0, -1.0]),
            -frames[..., TURN : TURN + 1],
            height,
            flipped[..., world.R6D],
            flipped[..., world.CONTACTS],
        ),
        axis=-1,
        dtype=np.float32,
    )
