"""Is a recording that says it is calibrated what it says? Measured from the movement, because a
flag proves nothing.

Bone orientations and free accelerations must describe one world, z up, in which people mostly stand
and in which a wrist accelerates as the end of its forearm does. With ``R`` the forearm's
orientation and ``l`` the lever from a point that moves little (near the shoulder) to the sensor,
the acceleration follows ``R'' l``; least squares over a recording give ``l`` and the share of the
acceleration that it explains. Read in the wrong convention, the lever points away from the forearm,
or nothing is explained. Every convention people use is tried; the one that fits best is the one the
recording is in.
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
"""Over which second derivatives are taken: arm movements below 5 Hz, well above the noise of
orientations at 60 Hz.
"""
_LEAST_MOVEMENT = 1.0
"""m/s^2 rms of a wrist below which its acceleration shows no lever arm."""
_LEVER = 0.75
_HANGING = 0.2
"""Weights of a wrist's lever and of hanging forearms beside an upright trunk. Hanging alone must
not decide: people hold their
forearms forward for minutes, too."""
_GRAVITY_SHARE = 0.6
"""Of one g: a mean acceleration beyond it is not movement, over two seconds or more."""
_MARGIN = 0.3
"""By which another convention must fit better than the documented one. Of 196 clips of CMU and
Bandai-Namco with simulated sensors, 3 to 20 s each, none written as documented reaches 0.25; with w
first, or only the world turned, all exceed it, with the
bones' axes turned as well or with inverses 80 to 95 %."""


@dataclass(frozen=True)
class Convention:
    """A way to write a recording other than the documented one.

    Attributes:
        name: what is wrong, for the user.
        remedy: what to do.
        read: orientation (T, S, 4) and acceleration (T, S, 3) as found, to the documented
            convention.
    """

    name: str
    remedy: str
    read: Read


def _basis(matrix: list[list[float]]) -> Read:
    """Worlds and bones both have other axes: ``matrix`` turns their vectors into ours."""
    q = rotations.from_matrix(np.array(matrix, dtype=np.float64))

    def read(orientation: Array, acceleration: Array) -> tuple[Array, Array]:
        turned = rotations.multiply(rotations.multiply(q, orientation), rotations.inverse(q))
        return np.asarray(turned), np.asarray(rotations.rotate(q, acceleration))

    return read


def _world(matrix: list[list[float]]) -> Read:
    """Only the world has other axes."""
    q = rotations.from_matrix(np.array(matrix, dtype=np.float64))
    return lambda orientation, acceleration: (
        np.asarray(rotations.multiply(q, orientation)),
        np.asarray(rotations.rotate(q, acceleration)),
    )


_FACING_Z = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]  # x left, y up, z forward (SMPL)
_ABOUT_X = [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]  # x forward, y up, z right
_Z_DOWN = [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]  # NED

_Y_UP = "the world has y up", "turn orientations and accelerations into a world with z up"
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
    Convention("the world has z down", "turn it about x by 180 degrees", _basis(_Z_DOWN)),
    Convention("the world has z down", "turn it about x by 180 degrees", _world(_Z_DOWN)),
    Convention(
        "the orientations turn the world into the bone",
        "store their inverses",
        lambda q, a: (np.asarray(rotations.inverse(q)), a),
    ),
)


def gravity_included(orientation: Array, acceleration: Array) -> str | None:
    """What is wrong with the free accelerations (T, S, 3) m/s^2 of a calibrated recording, or None.

    Over seconds the mean of a free acceleration is the change of speed over the time: small. With
    gravity left in it is 9.81 along the axis that points up; in the sensor's frame it is so once
    ``orientation`` (T, S, 4) has turned it into the world.
    """
    mean = acceleration.mean(axis=0)
    size = float(np.median(np.linalg.norm(mean, axis=-1)))
    turned = np.asarray(rotations.rotate(orientation, acceleration)).mean(axis=0)
    up = np.array([0.0, 0.0, GRAVITY])
    off, off_turned = (np.median(np.linalg.norm(m - up, axis=-1)) for m in (mean, turned))
    if off_turned < min(off, (1 - _GRAVITY_SHARE) * GRAVITY):
        return (
            "gravity is included in 'linear_acceleration', which is in the sensor's frame: set"
            " 'calibrated' to False if these are raw samples, or turn it into the world and"
            " subtract 9.81 from z"
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
    """Which convention a calibrated recording is in, if not the documented one, or None.

    Args:
        stamp: (T,) s, rising.
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
    """How well a recording fits the documented convention, about -3 to 3.

    An upright trunk, wrists that are moved by their forearms, and, a little, forearms that hang.
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
    """Mean of minus the z of the bones' y axes: 1 where a left forearm hangs."""
    x, y, z, w = (orientation[:, k] for k in range(4))
    return float(-2 * np.mean(y * z + w * x))


def _lever(stamp: Array, orientation: Array, acceleration: Array) -> tuple[float, float]:
    """Cosine between y and the lever that explains the acceleration best, and the share of it that
    is explained.
    """
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
