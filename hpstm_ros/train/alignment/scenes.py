"""Synthetic scenes: supports at the contacts of a motion, objects around it, and corrupted copies.

The motions of the packs have no scenes. A seat is placed below a sitting person, steps below feet
above the floor, a table below hands that rest in front of the body, and a wall in front of raised,
resting hands; other objects are placed where the body does not pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.language.alignment.scene import (
    FEWEST,
    SEAT_BELOW_M,
    SOLE_M,
    Box,
    box_arrays,
    box_distance,
    resting_hands,
    sitting,
    standing_above,
)

F32 = NDArray[np.float32]

THINGS: Final[dict[str, tuple[float, float, float]]] = {
    "chair": (0.45, 0.45, 0.9),
    "table": (1.2, 0.8, 0.75),
    "sofa": (1.8, 0.8, 0.8),
    "shelf": (0.9, 0.35, 1.8),
    "cabinet": (0.6, 0.5, 1.0),
    "bed": (2.0, 1.4, 0.5),
    "plant": (0.4, 0.4, 1.0),
    "lamp": (0.3, 0.3, 1.6),
    "cardboard box": (0.5, 0.4, 0.4),
    "robot arm": (0.4, 0.4, 1.0),
    "wall": (3.0, 0.15, 2.4),
    "door": (0.9, 0.1, 2.0),
}
"""Other objects: label and typical size, m."""

_CLEAR_M = 0.30
"""m, minimum distance of objects from the joints: half the width of a trunk, and a hand's
breadth.
"""


@dataclass(frozen=True)
class Scenes:
    """A motion's scene and a corrupted copy.

    Attributes:
        fits: boxes that match the motion.
        corrupted: the same boxes with one fault.
        fault: ``in the way``, ``missing`` or ``moved``.
        supports: number of boxes in ``fits`` that support the body.
    """

    fits: tuple[Box, ...]
    corrupted: tuple[Box, ...]
    fault: str
    supports: int


def draw(points: F32, rng: np.random.Generator) -> Scenes:
    """Draw a random scene for a window of motion (T, 8, 3) m, and a corrupted copy."""
    bearing = supports(points, rng)
    around = _things(points, bearing, rng)
    fits = (*bearing, *around)
    faults = ["in the way"] + (["missing", "moved"] if bearing else [])
    fault = str(rng.choice(faults))
    if fault == "in the way":
        corrupted = (
            (*fits[:-1], _in_the_way(points, rng)) if around else (_in_the_way(points, rng),)
        )
    elif fault == "missing":
        corrupted = fits[1:]
    else:
        corrupted = (_moved(bearing[0], rng), *fits[1:])
    return Scenes(fits, corrupted, fault, len(bearing))


def supports(points: F32, rng: np.random.Generator) -> tuple[Box, ...]:
    """Supports of the body, from the contacts of the points (T, 8, 3) m."""
    boxes = []
    sits = sitting(points)
    if sits.sum() >= FEWEST:
        pelvis = np.median(points[sits, 0], axis=0)
        label = "stool" if rng.random() < 0.4 else "chair"
        size = rng.uniform(0.38, 0.55, 2)
        boxes.append(_standing(label, pelvis[:2], size, pelvis[2] - SEAT_BELOW_M, rng))
    boxes += _steps(points, rng)
    if not boxes:
        boxes += _resting_hands(points, rng)
    return tuple(boxes[:4])


def _steps(points: F32, rng: np.random.Generator) -> list[Box]:
    raised = standing_above(points)
    tops: list[F32] = []
    for foot in range(2):
        for frame in np.flatnonzero(raised[:, foot]):
            p = points[frame, 6 + foot]
            if all(np.linalg.norm(p - other) > 0.25 for other in tops):
                tops.append(p)
    if raised.any(1).sum() < FEWEST:
        return []
    yaw = float(rng.uniform(-np.pi, np.pi))
    return [
        replace(_standing("step", p[:2], rng.uniform(0.35, 0.6, 2), p[2] - SOLE_M, rng), yaw=yaw)
        for p in tops[:3]
    ]


def _resting_hands(points: F32, rng: np.random.Generator) -> list[Box]:
    """A table or a wall where hands rest away from the body, after moving there."""
    resting = resting_hands(points)
    for hand in range(2):
        rests = resting[:, hand]
        if not rests.any():
            continue
        p = np.median(points[rests, 2 + hand], axis=0)
        outward = p[:2] - np.median(points[rests, 0, :2], axis=0)
        outward = outward / max(float(np.linalg.norm(outward)), 1e-3)
        yaw = float(np.arctan2(outward[1], outward[0]))
        if p[2] < 1.15:
            size = (float(rng.uniform(0.5, 0.8)), float(rng.uniform(0.7, 1.4)), float(p[2]) - 0.04)
            middle = p[:2] + outward * (size[0] / 2 - 0.12)
            label = "table"
            height = size[2]
        else:
            size = (0.15, float(rng.uniform(1.5, 3.0)), 2.4)
            middle = p[:2] + outward * (size[0] / 2 + 0.05)
            label = "wall"
            height = 2.4
        box = Box(label, (float(middle[0]), float(middle[1]), height / 2), (*size[:2], height), yaw)
        if _clearance([box], points[:, [0, 1, 4, 5]]) > 0.05:
            return [box]
    return []


def _things(points: F32, bearing: Sequence[Box], rng: np.random.Generator) -> list[Box]:
    """One to four objects where the body does not pass."""
    boxes: list[Box] = []
    wanted = int(rng.integers(1, 5))
    for _ in range(6 * wanted):
        if len(boxes) == wanted:
            break
        box = _thing(points[int(rng.integers(len(points))), 0], rng.uniform(0.7, 3.0), rng)
        if _clearance([box], points) > _CLEAR_M:
            boxes.append(box)
    return boxes


def _thing(near: F32, away: float, rng: np.random.Generator) -> Box:
    label = str(rng.choice(list(THINGS)))
    size = np.array(THINGS[label]) * rng.uniform(0.8, 1.2, 3)
    angle = rng.uniform(-np.pi, np.pi)
    at = near[:2] + away * np.array([np.cos(angle), np.sin(angle)])
    return _standing(label, at, size[:2], float(size[2]), rng)


def _in_the_way(points: F32, rng: np.random.Generator) -> Box:
    """An obstacle that the body, or a hand, passes through."""
    for _ in range(20):
        joint = int(rng.choice([0, 0, 1, 2, 3, 4, 5]))
        box = _thing(points[int(rng.integers(len(points))), joint], rng.uniform(0, 0.15), rng)
        distance = box_distance(*box_arrays([box]), points)[0]
        if (distance < -0.05).any(1).mean() > 0.08:
            return box
    p = points[len(points) // 2, 0]
    return _standing("cabinet", p[:2], np.array([0.6, 0.6]), 1.2, rng)


def _moved(box: Box, rng: np.random.Generator) -> Box:
    angle = rng.uniform(-np.pi, np.pi)
    by = rng.uniform(0.7, 1.5) * np.array([np.cos(angle), np.sin(angle)])
    x, y, z = box.centre
    return replace(box, centre=(x + float(by[0]), y + float(by[1]), z))


def _standing(
    label: str,
    at: NDArray[np.floating],
    size: NDArray[np.floating],
    top: float,
    rng: np.random.Generator,
) -> Box:
    top = max(float(top), 0.05)
    return Box(
        label,
        (float(at[0]), float(at[1]), top / 2),
        (float(size[0]), float(size[1]), top),
        float(rng.uniform(-np.pi, np.pi)),
    )


def _clearance(boxes: Sequence[Box], points: F32) -> float:
    return float(box_distance(*box_arrays(boxes), points).min())
