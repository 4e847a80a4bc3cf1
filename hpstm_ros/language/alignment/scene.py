"""Scenes: labelled boxes around a person, and the contacts of a motion with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.files.settings import settings
from pallas_ros.files.yaml_text import load_mapping

from .movement import POINTS

F32 = NDArray[np.float32]

BOXES: Final = 12
"""Maximum number of boxes that the network uses: those nearest to the body."""
MAX_BOXES: Final = 20_000
"""Maximum number of boxes of a scene file, which has 2 MiB at most."""
_MAX_NODES: Final = 20 * MAX_BOXES
"""Maximum number of YAML values; a box has 15."""
MAX_YAW: Final = 1000.0
"""rad, maximum yaw of a box."""
SHAPE_WIDTH: Final = 8
MEETING_WIDTH: Final = 13
NEED_WIDTH: Final = 4
_GROUPS: Final = tuple(
    [i for i, name in enumerate(POINTS) if name.endswith(part)]
    for part in ("pelvis", "head", "wrist", "knee", "foot")
)
_FAR_M: Final = 1.5

SEAT_BELOW_M: Final = 0.10
"""m, height of the pelvis joint above the seat: half the thickness of a thigh."""
STANDING_PELVIS_M: Final = 0.95
"""m, height of the pelvis above the floor, default body, standing."""
STILL_M_S: Final = 0.25
FEWEST: Final = 5
"""Minimum number of frames (0.5 s) of a contact."""
SOLE_M: Final = 0.04
"""m, height of the foot joint (ball of the foot) above its support."""


@dataclass(frozen=True)
class Box:
    """An upright box.

    Attributes:
        label: name of the object ("chair").
        centre: m, in the world.
        size: m, along its own x, y and z.
        yaw: rad, about z.
    """

    label: str
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float = 0.0

    def __post_init__(self) -> None:
        """Reject invalid boxes.

        Raises:
            ValueError: a number is not finite or too large, a size not positive, or the label
                empty.
        """
        if not np.isfinite((*self.centre, *self.size, self.yaw)).all():
            raise ValueError("a number is not finite")
        if min(self.size) <= 0 or max(np.abs((*self.centre, *self.size))) > 1e4:
            raise ValueError("sizes must be above 0, and no number may exceed 10000 m")
        if abs(self.yaw) > MAX_YAW:
            raise ValueError(f"yaw may not exceed {MAX_YAW:g} rad")
        if not any(c.isalnum() for c in self.label) or len(self.label) > 80:
            raise ValueError("a label must have 1 to 80 characters")

    @property
    def top(self) -> float:
        """Height of the top face, m."""
        return self.centre[2] + self.size[2] / 2


def load_scene(path: str | Path) -> list[Box]:
    """The boxes of a scene file: ``boxes``, a list of ``label``, ``centre``, ``size`` and ``yaw``.

    Raises:
        PallasError: the file is not a scene file, or a box is invalid.
    """
    document = load_mapping(path, "scene file", _MAX_NODES)
    rows = document.get("boxes")
    if set(document) != {"boxes"} or not isinstance(rows, list):
        raise PallasError(
            f"{path}: not a scene: give a list 'boxes', each with label, centre, size and yaw"
        )
    if len(rows) > MAX_BOXES:
        raise PallasError(
            f"{path}: {len(rows)} boxes, but at most {MAX_BOXES} are read: merge some"
        )
    return [settings(Box, row, f"{path}: box {i + 1}") for i, row in enumerate(rows)]


@dataclass(frozen=True)
class SceneInputs:
    """Network input of a scene and a window of motion.

    Attributes:
        labels: names of the boxes that are used, nearest first; at most 12.
        shapes: (12, 8), centre and size in the frame of the window's start, direction of yaw.
        meetings: (12, 13), features of the contacts between the body and each box.
        there: (12,) 1 for boxes, 0 for padding.
        need: (4,) share of frames in which the body sits, in which it stands above the floor, and
            in which each is unsupported.
        unsupported: (3,) share of frames in which the seat, a foot above the floor, or a hand that
            rests in front of the body has no support.
    """

    labels: tuple[str, ...]
    shapes: F32
    meetings: F32
    there: F32
    need: F32
    unsupported: F32


def scene_inputs(
    boxes: Sequence[Box],
    points: F32,
    heading: float,
    arrays: tuple[F32, F32, F32] | None = None,
) -> SceneInputs:
    """Compute the network input for a scene and a window of motion.

    Args:
        boxes: in the world frame of the motion; the 12 boxes nearest to the body are used.
        points: (T, 8, 3) m, see `Movement`.
        heading: rad, of the pelvis in the first frame of the window.
        arrays: `box_arrays` of the boxes, computed once for all windows of a motion.
    """
    centre, size, yaw = arrays or box_arrays(boxes)
    origin = np.array([points[0, 0, 0], points[0, 0, 1], 0.0], np.float32)
    if len(boxes) > BOXES:
        gap = np.linalg.norm(points[None, :, 0, :2] - centre[:, None, :2], axis=-1).min(1)
        nearest = np.argsort(gap - size[:, :2].max(1) / 2, kind="stable")[:BOXES]
        centre = centre[nearest]
        size = size[nearest]
        yaw = yaw[nearest]
        boxes = [boxes[i] for i in nearest]
    count = len(boxes)
    shapes = np.zeros((BOXES, SHAPE_WIDTH), np.float32)
    meetings = np.zeros((BOXES, MEETING_WIDTH), np.float32)
    seated = np.zeros(len(points), np.bool_)
    stood = np.zeros((len(points), 2), np.bool_)
    held = np.zeros((len(points), 2), np.bool_)
    there = np.zeros(BOXES, np.float32)
    there[:count] = 1.0
    c = np.cos(heading)
    s = np.sin(heading)
    away = centre - origin
    turned = np.stack((c * away[:, 0] + s * away[:, 1], c * away[:, 1] - s * away[:, 0]), axis=1)
    shapes[:count, :2] = np.clip(turned / 2, -3, 3)
    shapes[:count, 2] = np.clip(away[:, 2], -3, 3)
    shapes[:count, 3:6] = np.log(np.clip(size, 0.02, 20.0))
    turn = 2 * (yaw - heading)
    shapes[:count, 6:] = np.stack((np.cos(turn), np.sin(turn)), axis=1)
    sits = sitting(points)
    raised = standing_above(points)
    need = np.zeros(NEED_WIDTH, np.float32)
    need[:2] = sits.mean(), raised.any(1).mean()
    if count:
        meetings[:count], on_seat, on_step, touched = _meet(centre, size, yaw, points)
        seated = np.asarray(on_seat.any(0))
        stood = np.asarray(on_step.any(0))
        held = np.asarray(touched.any(0))
    need[2] = (sits & ~seated).mean()
    need[3] = (raised & ~stood).any(1).mean()
    hands = (resting_hands(points) & ~held).any(1).mean()
    unsupported = np.array([need[2], need[3], hands], np.float32)
    return SceneInputs(tuple(b.label for b in boxes), shapes, meetings, there, need, unsupported)


def sitting(points: F32) -> NDArray[np.bool_]:
    """(T,) whether the body sits: pelvis low and still, above ground and feet.

    Args:
        points: (T, 8, 3) m, see `Movement`.
    """
    pelvis = points[:, 0]
    feet = points[:, 6:8]
    still = _slow(pelvis)
    low = (pelvis[:, 2] > 0.25) & (pelvis[:, 2] < 0.68 * STANDING_PELVIS_M)
    above = pelvis[:, 2] - feet[..., 2].max(1) > 0.15
    # a squat has the pelvis over the heels, a seat has it well behind the feet
    behind = np.linalg.norm(feet[..., :2].mean(1) - pelvis[:, :2], axis=-1) > 0.22
    return np.asarray(still & low & above & behind)


def standing_above(points: F32) -> NDArray[np.bool_]:
    """(T, 2) whether each foot rests above the floor while the body is upright.

    Args:
        points: (T, 8, 3) m, see `Movement`.
    """
    feet = points[:, 6:8]
    slow = np.stack([_slow(feet[:, i]) for i in range(2)], axis=1)
    lower = feet[..., 2] <= feet[..., 2].min(1, keepdims=True) + 0.25
    upright = points[:, 0, 2] - feet[..., 2].min(1) > 0.6
    return np.asarray(slow & lower & (feet[..., 2] > 0.16) & upright[:, None])


def resting_hands(points: F32) -> NDArray[np.bool_]:
    """(T, 2) whether each hand rests in a raised position away from the body, after moving there.

    Args:
        points: (T, 8, 3) m, see `Movement`.
    """
    hands = points[:, 2:4]
    speed = np.stack([_speed(hands[:, i]) for i in range(2)], axis=1)
    away = np.linalg.norm(hands[..., :2] - points[:, :1, :2], axis=-1)
    rests = (speed < 0.12) & (away > 0.42) & (hands[..., 2] > 0.6)
    return np.asarray(rests & (speed.max(0) >= 0.5) & (rests.sum(0) >= FEWEST))


def box_distance(centre: F32, size: F32, yaw: F32, points: F32) -> F32:
    """Signed distances (N, ...) m of points (..., 3) m from N boxes; negative inside.

    Args:
        centre: (N, 3) m.
        size: (N, 3) m.
        yaw: (N,) rad.
        points: (..., 3) m.
    """
    local = _to_box(centre, yaw, points)
    over = np.abs(local) - size.reshape(-1, *[1] * (points.ndim - 1), 3) / 2
    outside = np.linalg.norm(np.maximum(over, 0), axis=-1)
    return np.asarray(outside + np.minimum(over.max(-1), 0), dtype=np.float32)


def box_arrays(
    boxes: Sequence[Box], scale: float = 1.0, floor: float = 0.0
) -> tuple[F32, F32, F32]:
    """Centres (N, 3) m, sizes (N, 3) m and yaws (N,) rad of boxes, relative to a body's points.

    Args:
        boxes: in the world frame of the motion.
        scale: size of the body relative to the default, see `Movement`.
        floor: m, height of the floor in the world, see `Movement`.
    """

    def column(values: Any, width: int) -> F32:
        return np.asarray(values, np.float32).reshape(len(boxes), width)

    centre = column([b.centre for b in boxes], 3) - np.array([0.0, 0.0, floor], np.float32)
    size = column([b.size for b in boxes], 3)
    yaw = column([b.yaw for b in boxes], 1)[:, 0]
    return centre / np.float32(scale), size / np.float32(scale), yaw


def _meet(
    centre: F32, size: F32, yaw: F32, points: F32
) -> tuple[F32, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Features (N, 13); whether seat (N, T), feet (N, T, 2) and hands (N, T, 2) are supported."""
    distance = box_distance(centre, size, yaw, points)
    near = [distance[..., group].min(-1) for group in _GROUPS]
    closest = np.stack([np.clip(d.min(1), -0.5, _FAR_M) for d in near], axis=1)
    inside = np.stack([(d < -0.03).mean(1) for d in near], axis=1)
    top = (centre[:, 2] + size[:, 2] / 2)[:, None]
    local = _to_box(centre, yaw, points)
    within = np.asarray((np.abs(local[..., :2]) < size[:, None, None, :2] / 2 + 0.12).all(-1))
    gap = points[None, ..., 2] - top[..., None]
    on_seat = within[..., 0] & (np.abs(gap[..., 0] - SEAT_BELOW_M) < 0.12)
    on_step = within[..., 6:8] & (np.abs(gap[..., 6:8] - SOLE_M) < 0.10)
    touched = np.abs(distance[..., 2:4]) < 0.08
    nearly = np.abs(near[2]) < 0.08
    rest = np.stack((on_seat.mean(1), on_step.any(-1).mean(1), nearly.mean(1)), axis=1)
    features = np.concatenate((closest, inside, rest), axis=1, dtype=np.float32)
    return features, on_seat, on_step, touched


def _to_box(centre: F32, yaw: F32, points: F32) -> F32:
    shape = (-1, *[1] * (points.ndim - 1))
    away = points[None] - centre.reshape(*shape, 3)
    c = np.cos(yaw).reshape(shape)
    s = np.sin(yaw).reshape(shape)
    x = c * away[..., 0] + s * away[..., 1]
    y = c * away[..., 1] - s * away[..., 0]
    return np.stack((x, y, away[..., 2]), axis=-1)


def _slow(path: F32) -> NDArray[np.bool_]:
    return np.asarray(_speed(path) < STILL_M_S)


def _speed(path: F32) -> F32:
    """Speed (T,) m/s along a path at 10 Hz."""
    if len(path) < 2:
        return np.zeros(len(path), np.float32)
    return np.asarray(np.linalg.norm(np.gradient(path, axis=0), axis=-1) * 10.0, np.float32)
