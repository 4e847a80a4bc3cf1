"""Picture sheets: bodies in rows, each with a caption."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.view.figure import Figure, Person
from pallas_ros.view.raster import Camera

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

CELL = (240, 300)
"""Width and height of a picture, pixels."""
_EYE = np.array([3.1, -1.5, 0.55])
"""m, position of the camera relative to the body: in front, to its right and above."""


@dataclass
class Cell:
    """One picture of a sheet.

    Attributes:
        positions: (22, 3) m, world; None for an empty picture.
        rotations: (22, 4) xyzw, world.
        caption: text above the picture.
    """

    positions: F64 | None
    rotations: F64 | None
    caption: str = ""


def picture_sheet(cells: Sequence[Cell], columns: int = 6, skeleton: Skeleton | None = None) -> U8:
    """Draw a sheet (H, W, 3) of all cells, with every body seen from its front right."""
    columns = max(1, min(columns, len(cells)))
    rows = -(-len(cells) // columns)
    width, height = CELL
    sheet = np.full((max(rows, 1) * height, columns * width, 3), 255, np.uint8)
    for i, cell in enumerate(cells):
        y = i // columns * height
        x = i % columns * width
        sheet[y : y + height, x : x + width] = _picture(cell, skeleton)
    return sheet


def _picture(cell: Cell, skeleton: Skeleton | None) -> U8:
    figure = Figure(
        skeleton or Skeleton.from_height(),
        size=CELL,
        camera=Camera(tuple(_EYE + (0, 0, 0.8)), (0.0, 0.0, 0.88), 1.35),
    )
    people = []
    if cell.positions is not None and cell.rotations is not None:
        # place every body at the origin, with the same heading
        turn = rotations.about_z(-float(rotations.heading(cell.rotations[0])))
        away = cell.positions - np.array([*cell.positions[0, :2], 0.0])
        q = np.broadcast_to(turn, cell.rotations.shape)
        people = [
            Person(
                np.asarray(rotations.rotate(q[: len(away)], away)),
                np.asarray(rotations.multiply(q, cell.rotations)),
            )
        ]
    return figure.draw(people, caption=_short(cell.caption))


def _short(text: str, longest: int = 30) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
