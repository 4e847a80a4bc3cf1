"""Headings from movement: a joint's known axis, as seen in each sensor's reference frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.rotations import Array

_LEAST_TURN = float(np.radians(12.0))  # smaller rotations do not determine their axis


@dataclass(slots=True)
class Hinge:
    """Movement of one sensor away from a still pose, modelled as a rotation about one axis.

    Attributes:
        axis: (3,) unit vector in the sensor's reference frame; the largest rotation about it is
            positive.
        angle: rad, largest rotation.
        heading: rad, direction of the axis seen from above.
        level: 0 to 1, how horizontal the axis is.
        spread: rad, rms deviation of the rotation axes from the mean one.
    """

    axis: Array
    angle: float
    heading: float
    level: float
    spread: float


def hinge(q_ref_start: Array, q_ref_sensor: Sequence[Array] | Array) -> Hinge:
    """Estimate the axis about which a sensor rotated.

    Args:
        q_ref_start: (4,) xyzw, its orientation while still, before the movement.
        q_ref_sensor: (N, 4) xyzw, its orientations during the movement.
    """
    turns = rotations.to_rotvec(
        rotations.multiply(np.asarray(q_ref_sensor), rotations.inverse(q_ref_start))
    )
    angles = np.linalg.norm(turns, axis=-1)
    widest = turns[int(np.argmax(angles))]
    wide = turns[angles > min(_LEAST_TURN, float(angles.max()))]
    if len(wide) == 0:
        wide = widest[None]
    wide = wide * np.sign(wide @ widest)[:, None]
    mean = wide.sum(axis=0)
    axis = mean / max(float(np.linalg.norm(mean)), 1e-12)
    directions = wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), 1e-12)
    off = np.arccos(np.clip(directions @ axis, -1.0, 1.0))
    return Hinge(
        axis=axis,
        angle=float(angles.max()),
        heading=float(np.arctan2(axis[1], axis[0])),
        level=float(np.hypot(axis[0], axis[1])),
        spread=float(np.sqrt(np.mean(off**2))),
    )


def turned_about_z(q_ref_start: Array, q_ref_sensor: Sequence[Array] | Array) -> float:
    """Return the largest rotation in rad about z; for the arguments see `hinge`."""
    turns = rotations.multiply(np.asarray(q_ref_sensor), rotations.inverse(q_ref_start))
    return float(np.abs(rotations.turn_about_z(turns)).max())


def wrap(angle: float) -> float:
    """Wrap an angle in rad to -pi to pi."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def mean_angle(angles: Sequence[float], weights: Sequence[float]) -> float:
    """Return the weighted circular mean of angles in rad."""
    w = np.asarray(weights)
    return float(np.arctan2(w @ np.sin(angles), w @ np.cos(angles)))
