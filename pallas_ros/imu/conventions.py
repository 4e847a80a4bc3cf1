"""Check from the movement whether a calibrated recording follows the documented convention.

Bone orientations and free accelerations must be consistent with one world, z up, in which people
mostly stand and in which a wrist accelerates as the end of its forearm. With ``R`` the forearm's
orientation and ``l`` the lever from a point that moves little (near the shoulder) to the sensor,
the acceleration follows ``R'' l``; least squares over a recording give ``l`` and the explained
share of the acceleration. In the wrong convention, the lever points away from the forearm, or
nothing is explained. All common conventions are tried, and the best fit is selected.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import savgol_filter

from pallas_ros.body import rotations
from pallas_ros.body.names import SITES
from pallas_ros.body.rotations import Array
from pallas_ros.imu.sample import GRAVITY

Read = Callable[[Array, Array], tuple[Array, Array]]

_WINDOW_S = 0.2
"""Time scale of the second derivatives: arm movements below 5 Hz, well above the noise of
orientations at 60 Hz.
"""
_LEAST_MOVEMENT = 1.0
"""m/s^2 rms, below which a wrist's acceleration does not determine the lever."""
_LEVER = 0.75
_HANGING = 0.2
"""Weights of a wrist's lever and of hanging forearms, relative to an upright trunk.

Hanging alone must not decide: people may hold their forearms forward for minutes.
"""
_GRAVITY_SHARE = 0.6
"""Fraction of one g: a larger mean acceleration over two seconds or more is not movement."""
_ONE_G = 0.1
"""Maximum deviation from 1 of every site's mean acceleration along the same axis if it is in g."""
_MARGIN = 0.3
"""Margin by which another convention must fit better than the documented one.

Of 196 clips of CMU and Bandai-Namco with simulated sensors, 3 to 20 s each, none in the documented
convention reaches 0.25. With w first, or only the world rotated, all exceed it; with the bones'
axes rotated as well or with inverses, 80 to 95 % do.
"""


@dataclass(frozen=True)
class Convention:
    """A convention other than the documented one.

    Attributes:
        name: what is wrong, for the user.
        remedy: how to fix it.
        read: converts orientation (T, S, 4) and acceleration (T, S, 3) to the documented
            convention.
    """

    name: str
    remedy: str
    read: Read


def _basis(matrix: list[list[float]]) -> Read:
    """World and bones have different axes; ``matrix`` converts their vectors to ours."""
    q = rotations.from_matrix(np.array(matrix, dtype=np.float64))

    def read(orientation: Array, acceleration: Array) -> tuple[Array, Array]:
        turned = rotations.multiply(rotations.multiply(q, orientation), rotations.inverse(q))
        return np.asarray(turned), np.asarray(rotations.rotate(q, acceleration))

    return read


def _world(matrix: list[list[float]]) -> Read:
    """Only the world has different axes."""
    q = rotations.from_matrix(np.array(matrix, dtype=np.float64))
    return lambda orientation, acceleration: (
        np.asarray(rotations.multiply(q, orientation)),
        np.asarray(rotations.rotate(q, acceleration)),
    )


_FACING_Z = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]  # x left, y up, z forward (SMPL)
_ABOUT_X = [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]  # x forward, y up, z right
_Z_DOWN = [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]  # NED

_Y_UP = "the world has y up", "rotate orientations and accelerations into a world with z up"
CONVENTIONS = (
    Convention(
        "the quaternions are in the order w, x, y, z",
        "store them as x, y, z, w",
        lambda q, a: (q[..., [1, 2, 3, 0]], a),
    ),
    Convention(*_Y_UP, _basis(_FACING_Z)),
    Convention(*_Y_UP, _basis(_ABOUT_X)),
    Convention(*_Y_UP, _world(_FACING_Z)),
    Convention(*_Y_UP, _world(_ABOUT_X)),
    Convention("the world has z down", "rotate it about x by 180 degrees", _basis(_Z_DOWN)),
    Convention("the world has z down", "rotate it about x by 180 degrees", _world(_Z_DOWN)),
    Convention(
        "the orientations map the world to the bone",
        "store their inverses",
        lambda q, a: (np.asarray(rotations.inverse(q)), a),
    ),
)


def gravity_included(orientation: Array, acceleration: Array) -> str | None:
    """Describe what is wrong with the free accelerations (T, S, 3) m/s^2 of a calibrated recording.

    Returns None if they are plausible. Over seconds, the mean of a free acceleration is small: the
    change of velocity divided by the time. If gravity is included, it is 9.81 along the up axis; in
    the sensor frame, this holds after rotation into the world by ``orientation`` (T, S, 4).
    """
    mean = acceleration.mean(axis=0)
    size = float(np.median(np.linalg.norm(mean, axis=-1)))
    turned = np.asarray(rotations.rotate(orientation, acceleration)).mean(axis=0)
    up = np.array([0.0, 0.0, GRAVITY])
    off, off_turned = (np.median(np.linalg.norm(m - up, axis=-1)) for m in (mean, turned))
    if off_turned < min(off, (1 - _GRAVITY_SHARE) * GRAVITY):
        return (
            "gravity is included in 'linear_acceleration', which is in the sensor's frame: set"
            " 'calibrated' to False if these are raw samples, or rotate it into the world and"
            " subtract 9.81 from z"
        )
    axis_g = np.abs(mean).max(axis=-1)
    aligned = axis_g > 0.95 * np.linalg.norm(mean, axis=-1)
    if (np.abs(axis_g - 1.0) < _ONE_G).all() and aligned.all():
        return (
            "'linear_acceleration' is in g, with gravity in it: multiply it by 9.80665, subtract"
            " gravity, or set 'calibrated' to False if these are raw samples"
        )
    if size < _GRAVITY_SHARE * GRAVITY:
        return None
    axis = "xyz"[int(np.argmax(np.abs(np.median(mean, axis=0))))]
    tail = "" if axis == "z" else f", so {axis} is the vertical axis and not z"
    return (
        f"gravity is included in 'linear_acceleration' ({size:.1f} m/s^2 along {axis} on"
        f" average{tail}): subtract it, or set 'calibrated' to False if these are raw samples"
    )


def misread(stamp: Array, orientation: Array, acceleration: Array) -> str | None:
    """Return the convention of a calibrated recording if it is not the documented one, else None.

    Args:
        stamp: (T,) s, increasing.
        orientation: (T, S, 4) unit quaternions, sites in the order of `SITES`.
        acceleration: (T, S, 3) m/s^2.
    """
    fit = plausibility(stamp, orientation, acceleration)
    best = fit
    found = None
    for convention in CONVENTIONS:
        score = plausibility(stamp, *convention.read(orientation, acceleration))
        if score > best:
            best = score
            found = convention
    if found is None or best < fit + _MARGIN:
        return None
    return f"{found.name}: {found.remedy}"


def plausibility(stamp: Array, orientation: Array, acceleration: Array) -> float:
    """Score how well a recording fits the documented convention, about -3 to 3.

    The score rewards an upright trunk, wrists moved by their forearms and, with low weight, hanging
    forearms.

    Args:
        stamp: (T,) s.
        orientation: (T, 4, 4) xyzw, by sample and site.
        acceleration: (T, 4, 3) m/s^2, by sample and site.
    """
    up = 1 - 2 * (orientation[:, :2, 0] ** 2 + orientation[:, :2, 1] ** 2)
    score = float(up.mean())
    for site, direction in (("left_wrist", 1.0), ("right_wrist", -1.0)):
        i = SITES.index(site)
        lever, share = _lever(stamp, orientation[:, i], acceleration[:, i])
        score += _LEVER * share * direction * lever
        score += 0.5 * _HANGING * direction * _downward(orientation[:, i])
    return score


def _downward(orientation: Array) -> float:
    """Mean of the negative z component of the bones' y axes: 1 if a left forearm hangs."""
    x, y, z, w = (orientation[:, k] for k in range(4))
    return float(-2 * np.mean(y * z + w * x))


def _lever(stamp: Array, orientation: Array, acceleration: Array) -> tuple[float, float]:
    """Cosine between y and the best-fitting lever, and the share of acceleration it explains."""
    step = float(np.median(np.diff(stamp)))
    width = 2 * max(int(0.5 * _WINDOW_S / step), 2) + 1
    if len(stamp) <= 2 * width:
        return 0.0, 0.0
    matrices = np.asarray(rotations.to_matrix(orientation)).reshape(-1, 9)
    second = savgol_filter(matrices, width, 3, deriv=2, delta=step, axis=0).reshape(-1, 3)
    felt = savgol_filter(acceleration, width, 3, axis=0).reshape(-1)
    if np.sqrt(3 * np.mean(felt**2)) < _LEAST_MOVEMENT:
        return 0.0, 0.0
    lever, *_ = np.linalg.lstsq(second, felt, rcond=None)
    length = float(np.linalg.norm(lever))
    share = 1 - float(np.sum((second @ lever - felt) ** 2) / np.sum(felt**2))
    return (float(lever[1]) / length if length > 1e-6 else 0.0), max(share, 0.0)
