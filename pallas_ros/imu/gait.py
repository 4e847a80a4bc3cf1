"""Joint angles of a person who walks at about 0.9 m/s, as Fourier series of the stride.

The phase is zero where the feet pass each other and the left one is in swing; the left foot is
farthest in front at a quarter of the stride. The coefficients are medians over 176 walks of 0.7 to
1.3 m/s of `cmu_full` (training and validation subjects), shins aligned as in
`pallas_ros.data.pack_skeletons`. Small terms and the mean posture of the trunk are
left out.
"""

import numpy as np

from pallas_ros.body.rotations import Array

STRIDES_HZ = 0.75
"""Strides (two steps) per second; the median of the same walks."""

SPEED_MPS = 0.9
"""Speed that belongs to it; the median of the same walks."""

_Series = tuple[float, float, float, float, float]
"""Mean, sine and cosine of the stride, sine and cosine of twice the stride; degrees."""

_TRUNK: dict[tuple[str, str], _Series] = {
    ("pelvis", "x"): (0.0, -3.6, -2.9, 0.0, 0.0),  # drops on the side of the leg in swing
    ("pelvis", "z"): (0.0, -2.6, 1.8, 0.0, 0.0),  # turns with the leg in front
    ("spine1", "x"): (0.0, 2.2, 3.0, 0.0, 0.0),
    ("spine1", "z"): (0.0, 2.1, 0.0, 0.0, 0.0),
    ("spine2", "x"): (0.0, 2.0, 3.0, 0.0, 0.0),
    ("spine2", "z"): (0.0, 2.3, 0.2, 0.0, 0.0),
    ("spine3", "x"): (0.0, -2.3, -0.2, 0.0, 0.0),
    ("spine3", "z"): (0.0, 1.3, 0.2, 0.0, 0.0),
}
_LEFT: dict[tuple[str, str], _Series] = {
    ("hip", "x"): (1.7, 2.3, 7.1, -0.8, 0.0),
    ("hip", "y"): (-17.5, -20.3, -8.0, -1.3, -4.4),  # mean: of hip and pelvis together
    ("knee", "y"): (26.3, 0.3, 14.2, -6.4, 11.4),
    ("ankle", "y"): (3.7, 0.8, 6.8, -5.6, -0.5),
    ("shoulder", "z"): (0.0, 14.2, 0.9, -2.2, -0.8),  # upper quartile, as that of the elbow:
    ("elbow", "z"): (0.0, 6.0, 0.7, -1.8, 0.2),  # in half of the walks the arms hardly swing
}
"""Of the left side; the right is its mirror image half a stride later."""


def _series(coefficients: _Series, phase: Array) -> Array:
    mean, sine, cosine, sine2, cosine2 = coefficients
    return np.asarray(
        np.radians(
            mean
            + sine * np.sin(phase)
            + cosine * np.cos(phase)
            + sine2 * np.sin(2 * phase)
            + cosine2 * np.cos(2 * phase)
        )
    )


def gait(phase: Array) -> dict[str, Array]:
    """Rotation vectors (T, 3) rad in the parent's frame, by joint, at stride phases (T,) rad."""
    out: dict[str, Array] = {}

    def add(joint: str, axis: str, angle: Array) -> None:
        vector = out.setdefault(joint, np.zeros((len(phase), 3)))
        vector[:, "xyz".index(axis)] += angle

    for (joint, axis), coefficients in _TRUNK.items():
        add(joint, axis, _series(coefficients, phase))
    for (joint, axis), coefficients in _LEFT.items():
        mirrored = 1.0 if axis == "y" else -1.0
        add(f"left_{joint}", axis, _series(coefficients, phase))
        add(f"right_{joint}", axis, mirrored * _series(coefficients, phase + np.pi))
    return out
