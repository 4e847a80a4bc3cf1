"""Pictures of forces: ground reactions as arrows, joints coloured by their moments."""

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.dynamics.anthropometry import GRAVITY, SIDES
from hpstm_ros.dynamics.offline import Dynamics
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, PARENTS
from pallas_ros.view.raster import Camera, Canvas
from pallas_ros.view.scene import confidence_colour

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

_BONE = (176.0, 186.0, 200.0)
_FORCE = (40.0, 150.0, 80.0)
_CARRIED = (120.0, 90.0, 200.0)
_M_PER_WEIGHT = 0.9
"""m, length of the arrow of one body weight."""
_FULL = 1.5
"""Nm/kg at which a joint is red: about the knee moment in a deep squat."""


def picture(
    motion: Motion, dynamics: Dynamics, index: int, size: tuple[int, int] = (480, 540)
) -> U8:
    """Draw the person at a frame: (height, width, 3), for a ``size`` of (width, height)."""
    floor = np.array([0.0, 0.0, dynamics.floor])  # is drawn at z = 0
    points = motion.positions[index] - floor
    x, y, _ = points[0].tolist()
    camera = Camera(eye=(x + 1.9, y - 3.0, 1.3), target=(x, y, 0.8), focal=1.5)
    canvas = Canvas(size, camera, 2)
    canvas.ground(centre=camera.target[:2])
    ends = points[1:]
    starts = points[list(PARENTS[1:])]
    canvas.capsules(starts, ends, np.full(len(ends), 0.022), np.tile(_BONE, (len(ends), 1)))
    level = np.linalg.norm(dynamics.moment[index, 1:], axis=1) / dynamics.mass / _FULL
    colours = 255 * confidence_colour(1.0 - np.clip(level, 0.0, 1.0))[:, :3]
    radii = 0.032 + 0.03 * np.clip(level, 0.0, 1.0)
    canvas.capsules(ends, ends + [0, 0, 1e-6], radii, colours, shadow=False)
    scale = _M_PER_WEIGHT / (dynamics.mass * GRAVITY)
    for reaction in dynamics.ground_reaction[index]:
        if np.isfinite(reaction).all():
            _arrow(canvas, reaction[3:] - floor, scale * reaction[:3], _FORCE)
    for side in SIDES:
        down = np.array([0.0, 0.0, -scale * dynamics.loads[side] * GRAVITY])
        _arrow(canvas, points[JOINT_INDEX[f"{side}_wrist"]], down, _CARRIED)
    canvas.text((14, 10), f"{dynamics.t[index]:.2f} s", 16)
    return canvas.finish()


def _arrow(canvas: Canvas, start: F64, along: F64, colour: tuple[float, float, float]) -> None:
    """Draw a shaft, and a head of spheres that become smaller towards the tip."""
    length = float(np.linalg.norm(along))
    if length < 1e-3:
        return
    tint = np.array([colour])
    neck = start + along * (1 - min(0.12 / length, 0.5))
    canvas.capsules(start[None], neck[None], np.array([0.014]), tint, shadow=False)
    for share in np.linspace(0.0, 0.9, 10):
        ball = (neck + share * (start + along - neck))[None]
        canvas.capsules(ball, ball + [0, 0, 1e-6], np.array([0.04 * (1 - share)]), tint, False)
