"""What is expected where nothing is seen, anchored to what is seen beside it.

The network's expectation is moved so that it meets each joint where that is observed, and mixed
with plain interpolation (before the first and after the last observation: holding still). The
shares are chosen on validation subjects and stored with the model.
"""

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import representation as rep
from pallas_ros.body import rotations
from pallas_ros.body.names import JOINTS

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def anchored(known: F32, seen: NDArray[np.bool_], expected: F32, ahead: float, gap: float) -> F32:
    """Features (T, 137) that are those known where seen.

    Args:
        known: (T, 137), as observed.
        seen: (T, 22) which joints are (the pelvis: the root path as well).
        expected: (T, 137), the network's.
        ahead: share of the network after a joint's last observation and before its first.
        gap: share of the network between observations.
    """
    out = expected.astype(np.float64)
    frames = np.arange(len(known))
    for joint in range(len(JOINTS)):
        at = np.flatnonzero(seen[:, joint])
        if not len(at) or len(at) == len(frames):
            if len(at):
                columns = columns_of([joint])
                out[:, columns] = known[:, columns]
            continue
        inside = (frames > at[0]) & (frames < at[-1])
        share = np.where(inside, gap, ahead)
        for column in columns_of([joint]):
            between = np.interp(frames, at, known[at, column])
            missed = np.interp(frames, at, known[at, column] - expected[at, column])
            out[:, column] = between + share * (expected[:, column] + missed - between)
    r6d = rotations.to_r6d(rep.matrices(out))
    out[:, rep.R6D] = r6d.reshape(len(out), 6 * len(JOINTS))
    return out.astype(np.float32)


def columns_of(joints: list[int]) -> list[int]:
    """Features of some joints; the pelvis has the root path as well."""
    columns = [0, 1, 2] if 0 in joints else []
    for joint in joints:
        columns += range(3 + 6 * joint, 9 + 6 * joint)
    return columns
