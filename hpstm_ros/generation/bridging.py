"""Initial values for unobserved parts of a motion: held before the first and after the last
observation, interpolated in between.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import representation as rep
from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.body.rotations import Array

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Flags = NDArray[np.bool_]

_IDENTITY = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], np.float32)
_FEET = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]


def bridged(known: F32, seen: Flags) -> F32:
    """Return features (B, T, 137) in which unobserved values are held or interpolated.

    Args:
        known: (B, T, 137) features; arbitrary values where not observed.
        seen: (B, T, 22) whether each joint is observed; the pelvis includes the root path.

    Orientations are held or interpolated relative to the parent joint, or relative to the world if
    the parent is not observed at the same time. A joint that is never observed is unchanged.
    """
    out = np.array(known, dtype=np.float32)
    if seen.all():
        return out
    shown = np.where(seen[..., None], _r6d(out), _IDENTITY)
    world = rotations.from_r6d(shown.astype(np.float64))
    placed = world.copy()
    for joint, parent in enumerate(PARENTS):
        there = seen[:, :, joint]
        missing = ~there & there.any(axis=1, keepdims=True)
        columns = columns_of([joint], contacts=True)
        plain = [column for column in columns if column not in _columns_of_r6d(joint)]
        between = _between(there)
        if plain:
            values = between(out[..., plain])
            out[..., plain] = np.where(missing[..., None], values, out[..., plain])
        if not missing.any():
            continue
        fits = joint > 0 and not (there & ~seen[:, :, max(parent, 0)]).any()
        own = world[:, :, joint]
        if fits:
            own = np.swapaxes(world[:, :, parent], -1, -2) @ own
        turned = rotations.from_r6d(between(rotations.to_r6d(own)))
        if fits:
            turned = placed[:, :, parent] @ turned
        placed[:, :, joint] = np.where(missing[..., None, None], turned, world[:, :, joint])
        r6d = rotations.to_r6d(placed[:, :, joint])
        at = _columns_of_r6d(joint)
        out[..., at] = np.where(missing[..., None], r6d, out[..., at])
    return out


def _between(there: Flags) -> Callable[[Array], F64]:
    """Return a function that holds and interpolates values (B, T, n) known where ``there`` (B, T)
    is True.
    """
    count = there.shape[1]
    frames = np.arange(count)
    rows = np.arange(len(there))[:, None]
    before = np.maximum.accumulate(np.where(there, frames, -1), axis=1)
    after = np.minimum.accumulate(np.where(there, frames, count)[:, ::-1], axis=1)[:, ::-1]
    never = ~there.any(axis=1, keepdims=True)
    first = np.where(never, frames, np.where(before < 0, after, before))
    last = np.where(never, frames, np.where(after == count, before, after))
    share = ((frames - first) / np.maximum(last - first, 1))[..., None]

    def interpolated(values: Array) -> F64:
        a = values[rows, first]
        return np.asarray(a + share * (values[rows, last] - a), np.float64)

    return interpolated


def _r6d(features: Array) -> Array:
    return features[..., rep.R6D].reshape(*features.shape[:-1], len(JOINTS), 6)


def _columns_of_r6d(joint: int) -> list[int]:
    return list(range(3 + 6 * joint, 9 + 6 * joint))


def columns_of(joints: list[int], contacts: bool = False) -> list[int]:
    """Indices of the features that belong to some joints; the pelvis includes the root path.

    Args:
        joints: indices of the joints.
        contacts: whether to include the contacts of feet.
    """
    columns = [0, 1, 2] if 0 in joints else []
    for joint in joints:
        columns += _columns_of_r6d(joint)
        if contacts and joint in _FEET:
            columns.append(rep.CONTACTS.start + _FEET.index(joint))
    return columns


def reference_frame(seen: Flags) -> int:
    """Index of the last frame of a window, ``seen`` (T, 22), before an observed joint is lost.

    If no joint is lost, the first frame with an observed pelvis; 0 if there is none.
    """
    whole = np.asarray(seen.all(axis=1))
    lost = np.flatnonzero(whole[:-1] & ~whole[1:])
    if len(lost):
        return int(lost[0])
    return int(np.argmax(seen[:, 0]))


def seen_from_reference(features: F32, seen: Flags) -> tuple[F32, rep.Place]:
    """Features (T, 137) in the frame of the body in `reference_frame`, and its place."""
    q, root, _ = rep.decode(features[reference_frame(seen)])
    place = rep.place_of(q[0], root)
    return rep.seen_from(features, place), place
