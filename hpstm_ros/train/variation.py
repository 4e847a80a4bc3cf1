"""Augmentation for HPSTM: limbs of other windows, limbs that move between random poses, swinging,
shaking, rotations.

A smoother is used on the motion of other people, so it must not learn particular motions. The
changes are those of `pallas_ros.data.augmentation`; their probabilities are set here, and were
chosen on contents held out from training.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from pallas_ros.data import draws
from pallas_ros.data.augmentation import bodies, keyed, paths, swings
from pallas_ros.data.augmentation.limbs import (
    ARMS,
    CHEST,
    HEAD,
    LEGS,
    PELVIS,
    SPINE,
    chained,
    hung_on,
    replaced,
    to_parents,
)
from pallas_ros.geometry import rotations

_PUSH_M = (0.4, 0.4, 0.2)
"""Standard deviation of the distance between the keys of a push."""


@dataclass(frozen=True)
class Variation:
    """Probabilities, per window, or per limb for limbs.

    Attributes:
        retimed: the window runs slower or faster, by up to a factor of exp(``pace``).
        foreign_arm, foreign_leg, foreign_head: the limb is taken from another window.
        keyed_arm, keyed: an arm (a leg, the head, the spine) moves between poses of other clips,
            half of them turned at random.
        swung_arm: an arm turns smoothly in addition to its own motion.
        shaken: every joint swings at 0.3 to 4 Hz.
        spun: the body turns about any axis.
        pushed: the body is pushed around.
        faint: the noise is scaled by 0.1 to 1.4.
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
    q: Tensor, root: Tensor, poses: Tensor, chances: Variation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Windows (B, T, 22, 4) and pelvis positions (B, T, 3) m, varied.

    Args:
        q: orientations, joint to world, xyzw.
        root: positions.
        poses: (N, 22, 4) orientations: where limbs take poses from.
        chances: of each variation.
        generator: what is drawn from.
    """
    count, frames = q.shape[:2]
    q, root = bodies.mirror(draws.chance(generator, 0.5, count), q, root)
    q = _exchange_limbs(q, chances, generator)
    q = _swing_arms(q, chances.swung_arm, generator)
    local = torch.cat((q[:, :, :1], to_parents(q, range(1, q.shape[2]))), dim=2)
    for limb, chance in (
        *((limb, chances.keyed_arm) for limb in ARMS),
        *((limb, chances.keyed) for limb in (*LEGS, HEAD, SPINE)),
    ):
        rows = draws.rows(generator, chance, count)
        local = replaced(local, rows, limb, _keyed(poses, limb, len(rows), frames, generator))
    rows = draws.rows(generator, chances.shaken, count)
    shaking = swings.shaking(generator, len(rows), frames)
    local[rows] = rotations.multiply(local[rows], shaking)
    rows = draws.rows(generator, chances.spun, count)
    spin = paths.wander(generator, len(rows), frames, torch.ones(3))
    local[rows, :, 0] = rotations.multiply(rotations.from_rotvec(spin), local[rows, :, 0])
    rows = draws.rows(generator, chances.pushed, count)
    root[rows] += paths.wander(generator, len(rows), frames, torch.tensor(_PUSH_M))
    heading = draws.uniform(generator, -torch.pi, torch.pi, count)
    return bodies.turn(rotations.about_z(heading), chained(local), root)


def _exchange_limbs(q: Tensor, chances: Variation, generator: torch.Generator) -> Tensor:
    """Limbs of another window of the batch, hung on this one's trunk."""
    source = q
    for limb, base, chance in (
        *((arm, CHEST, chances.foreign_arm) for arm in ARMS),
        *((leg, PELVIS, chances.foreign_leg) for leg in LEGS),
        (HEAD, CHEST, chances.foreign_head),
    ):
        rows = draws.rows(generator, chance, len(q))
        donor = source[torch.randint(0, len(q), (len(rows),), generator=generator)]
        hung = hung_on(q[rows, :, base], donor[:, :, base], donor[:, :, list(limb)])
        q = replaced(q, rows, limb, hung)
    return q


def _swing_arms(q: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Smooth random turns of the shoulder, and of the elbow on top of them."""
    for arm in ARMS:
        rows = draws.rows(generator, chance, len(q))
        for limb in (arm[1:], arm[2:]):
            turn = swings.smooth_turns(generator, len(rows), q.shape[1])
            turned = rotations.multiply(turn[:, :, None], q[rows][:, :, list(limb)])
            q = replaced(q, rows, limb, turned)
    return q


def _keyed(
    poses: Tensor, limb: Sequence[int], count: int, frames: int, generator: torch.Generator
) -> Tensor:
    """Limbs (count, T, J, 4), relative to the parents, that move between given poses, half of them
    turned at random.
    """
    index = torch.randint(0, len(poses), (count, keyed.KEYS), generator=generator)
    keys = keyed.turned(generator, to_parents(poses[index], limb))
    path = paths.brisk(generator, count, frames, keyed.KEYS)
    return paths.along(paths.like_the_first(keys), path)
