"""Motion that the packs do not hold, made from what they hold: limbs of other clips, limbs that
move between poses drawn again, trembling, turns.

A smoother meets other people's motion, so what it learns must not be a motion. Everything works on
windows (B, T, 22, 4), joint to world, xyzw, and draws from a `numpy.random.Generator` only. Which
strengths help was judged on contents held out of the training.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX, MIRROR, MODEL_RATE_HZ, PARENTS

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Rng = np.random.Generator

_MIRROR = np.array(MIRROR)
_PARENT = np.array([max(parent, 0) for parent in PARENTS])
_KEYS = 6


def _joints(*names: str) -> NDArray[np.intp]:
    return np.array([JOINT_INDEX[name] for name in names])


_ARMS = {
    side: _joints(*(f"{side}_{part}" for part in ("collar", "shoulder", "elbow", "wrist")))
    for side in ("left", "right")
}
_LEGS = {
    side: _joints(*(f"{side}_{part}" for part in ("hip", "knee", "ankle", "foot")))
    for side in ("left", "right")
}
_HEAD = _joints("neck", "head")
_SPINE = _joints("spine1", "spine2", "spine3")


@dataclass(frozen=True)
class Variation:
    """Chances, per window; of limbs, for each limb.

    Attributes:
        retimed: the window runs slower or faster, by up to a factor of exp(``pace``).
        foreign_arm, foreign_leg, foreign_head: hung on from another window.
        keyed_arm, keyed: an arm (a leg, the head, the spine) moves between poses of other clips,
            half of them turned at random.
        swung_arm: it turns smoothly on top of what it does.
        shaken: every joint swings at 0.3 to 4 Hz.
        spun: the body turns about any axis.
        pushed: the body is moved about.
        faint: the noise is 0.1 to 1.4 times what it is otherwise.
    """

    retimed: float = 0.6
    pace: float = 0.8
    foreign_arm: float = 0.3
    foreign_leg: float = 0.18
    foreign_head: float = 0.15
    keyed_arm: float = 0.3
    keyed: float = 0.2
    swung_arm: float = 0.2
    shaken: float = 0.3
    spun: float = 0.1
    pushed: float = 0.3
    faint: float = 0.2


STRONG = Variation()
OTHER_BODIES = Variation(**dict.fromkeys((f.name for f in fields(Variation)), 0.0))
"""Mirrored, turned and of other sizes, but the motion as it is, and the noise too."""


def vary(
    q: F32, root: F32, poses: NDArray[np.int16], chances: Variation, rng: Rng
) -> tuple[F32, F32]:
    """Windows (B, T, 22, 4) and pelvis positions (B, T, 3) m, varied.

    Args:
        q: orientations; changed in place.
        root: positions.
        poses: (N, 22, 4) orientations times any factor: where limbs take poses from.
        chances: of each variation.
        rng: what is drawn from.
    """
    q, root = _mirror(q, root, rng)
    q = _exchange_limbs(q, chances, rng)
    q = _swing_arms(q, chances.swung_arm, rng)
    local = q.copy()
    local[:, :, 1:] = rotations.multiply(rotations.inverse(q[:, :, _PARENT[1:]]), q[:, :, 1:])
    frames = q.shape[1]
    for limb, chance in (
        *((limb, chances.keyed_arm) for limb in _ARMS.values()),
        *((limb, chances.keyed) for limb in (*_LEGS.values(), _HEAD, _SPINE)),
    ):
        which = _hit(chance, len(q), rng)
        local[np.ix_(which, np.arange(frames), limb)] = _keyed(poses, limb, len(which), frames, rng)
    which = _hit(chances.shaken, len(q), rng)
    local[which] = rotations.multiply(local[which], _shaking(len(which), frames, rng))
    which = _hit(chances.spun, len(q), rng)
    local[which, :, 0] = rotations.multiply(
        rotations.from_rotvec(_wander(len(which), frames, np.ones(3), rng)), local[which, :, 0]
    )
    for joint in range(1, len(PARENTS)):
        local[:, :, joint] = rotations.multiply(local[:, :, PARENTS[joint]], local[:, :, joint])
    which = _hit(chances.pushed, len(q), rng)
    root[which] += _wander(len(which), frames, np.array([0.4, 0.4, 0.2]), rng).astype(np.float32)
    return _turn(local, root, rng)


def _hit(chance: float, count: int, rng: Rng) -> NDArray[np.intp]:
    return np.flatnonzero(rng.random(count) < chance)


def _mirror(q: F32, root: F32, rng: Rng) -> tuple[F32, F32]:
    which = _hit(0.5, len(q), rng)
    q[which] = q[which][:, :, _MIRROR] * np.array([-1, 1, -1, 1], dtype=np.float32)
    root[which] *= np.array([1, -1, 1], dtype=np.float32)
    return q, root


def _turn(q: F32, root: F32, rng: Rng) -> tuple[F32, F32]:
    """Any heading."""
    turn = rotations.about_z(rng.uniform(-np.pi, np.pi, len(q))).astype(np.float32)[:, None]
    turned = rotations.rotate(np.broadcast_to(turn, (*root.shape[:2], 4)), root)
    return rotations.multiply(turn[:, :, None], q).astype(np.float32), turned.astype(np.float32)


def _exchange_limbs(q: F32, chances: Variation, rng: Rng) -> F32:
    """Limbs of another window of the batch, hung on this one's trunk."""
    source = q.copy()
    chest = JOINT_INDEX["spine3"]
    pelvis = JOINT_INDEX["pelvis"]
    for limb, base, chance in (
        *((arm, chest, chances.foreign_arm) for arm in _ARMS.values()),
        *((leg, pelvis, chances.foreign_leg) for leg in _LEGS.values()),
        (_HEAD, chest, chances.foreign_head),
    ):
        which = _hit(chance, len(q), rng)
        other = rng.integers(0, len(q), len(which))
        carry = rotations.multiply(q[which, :, base], rotations.inverse(source[other, :, base]))
        q[which[:, None], :, limb[None]] = np.moveaxis(
            rotations.multiply(carry[:, :, None], source[other][:, :, limb]), 2, 1
        )
    return q


def _swing_arms(q: F32, chance: float, rng: Rng) -> F32:
    """Smooth random turns of the shoulder, and of the elbow on top of them."""
    for arm in _ARMS.values():
        which = _hit(chance, len(q), rng)
        for limb in (arm[1:], arm[2:]):
            time = np.arange(q.shape[1])[None, :, None] / MODEL_RATE_HZ
            frequency = rng.uniform(0.1, 1.2, (2, len(which), 1, 3))
            phase = rng.uniform(0, 2 * np.pi, (2, len(which), 1, 3))
            swings = (
                0.35
                * rng.standard_normal((2, len(which), 1, 3))
                * np.sin(2 * np.pi * frequency * time + phase)
            )
            turn = rotations.from_rotvec(
                0.5 * rng.standard_normal((len(which), 1, 3)) + swings.sum(0)
            )
            q[which[:, None], :, limb[None]] = np.moveaxis(
                rotations.multiply(turn[:, :, None], q[which][:, :, limb]), 2, 1
            )
    return q


def _shares(count: int, frames: int, keys: int, rng: Rng) -> F64:
    """Shares (count, T, keys) of the keys of paths that go from one to the next with minimum jerk
    (Flash and Hogan 1985), and rest between.
    """
    move = np.exp(rng.uniform(np.log(0.12), np.log(1.5), (count, keys - 1)))
    ends = np.cumsum(move + rng.exponential(0.15, (count, keys - 1)), axis=1)
    start = rng.uniform(0, 1, (count, 1)) * np.maximum(ends[:, -1:] - frames / MODEL_RATE_HZ, 0)
    now = start + np.arange(frames)[None] / MODEL_RATE_HZ
    part = np.clip((now[:, :, None] - (ends - move)[:, None]) / move[:, None], 0, 1)
    part = part**3 * (10 - 15 * part + 6 * part**2)
    shares = np.concatenate((np.ones((count, frames, 1)), part), axis=-1)
    shares[..., :-1] -= part
    return np.asarray(shares)


def _keyed(
    poses: NDArray[np.int16], limb: NDArray[np.intp], count: int, frames: int, rng: Rng
) -> F32:
    """Local orientations (count, T, len(limb), 4) of a limb that moves between given poses, half of
    the times turned at random.
    """
    pose = poses[rng.integers(0, len(poses), (count, _KEYS))].astype(np.float32)
    pose /= np.linalg.norm(pose, axis=-1, keepdims=True)
    keys = rotations.multiply(rotations.inverse(pose[:, :, _PARENT[limb]]), pose[:, :, limb])
    size = np.where(np.arange(len(limb)) == len(limb) - 1, 0.2, 0.7)[:, None] * (
        rng.random((count, 1, 1, 1)) < 0.5
    )
    keys = rotations.multiply(
        keys, rotations.from_rotvec(size * rng.standard_normal((count, _KEYS, len(limb), 3)))
    )
    keys = keys * np.where(np.sum(keys * keys[:, :1], axis=-1, keepdims=True) < 0, -1, 1)
    q = np.einsum("ntk,nkjc->ntjc", _shares(count, frames, _KEYS, rng), keys)
    return np.asarray(
        q / np.maximum(np.linalg.norm(q, axis=-1, keepdims=True), 1e-6), dtype=np.float32
    )


def _shaking(count: int, frames: int, rng: Rng) -> F32:
    """Local turns (count, T, 22, 4) that swing each joint, slowly and far or fast and little, the
    pelvis less.
    """
    joints = len(PARENTS)
    size = np.exp(rng.uniform(np.log(0.02), np.log(0.4), (count, 1, 1, 1))) * np.abs(
        rng.standard_normal((count, 1, joints, 1))
    )
    frequency = np.exp(rng.uniform(np.log(0.3), np.log(4.0), (count, 1, 1, 1))) * rng.uniform(
        0.6, 1.4, (count, 1, joints, 3)
    )
    phase = (
        rng.uniform(0, 2 * np.pi, (count, 1, joints, 3))
        + 2 * np.pi * frequency * np.arange(frames)[None, :, None, None] / MODEL_RATE_HZ
    )
    turn = (
        size
        * np.minimum(1, 1.2 / frequency)
        * rng.standard_normal((count, 1, joints, 3))
        * np.sin(phase)
    )
    turn[:, :, 0] *= 0.4
    return np.asarray(rotations.from_rotvec(turn), dtype=np.float32)


def _wander(count: int, frames: int, size: F64, rng: Rng) -> F64:
    """Vectors (count, T, 3) that go from key to key, ``size`` (3,) apart (standard deviation)."""
    keys = np.cumsum(size * rng.standard_normal((count, 4, 3)), axis=1)
    return np.asarray(np.einsum("ntk,nkc->ntc", _shares(count, frames, 4, rng), keys))
