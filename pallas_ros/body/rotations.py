"""Rotations as batched numpy arrays: quaternions (xyzw), matrices, rotation vectors and r6d.

Used on the real-time path, where creating ``scipy`` objects costs more than the arithmetic; the
tests compare every function with ``scipy.spatial.transform.Rotation``.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

IDENTITY: NDArray[np.float64] = np.array([0.0, 0.0, 0.0, 1.0])
"""The identity quaternion, xyzw."""

_TINY = 1e-12


_XYZ = np.array([0, 1, 2])
_YZX = np.array([1, 2, 0])
_ZXY = np.array([2, 0, 1])


def _length(vector: Array) -> Array:
    """Return lengths (..., 1) of vectors (..., n).

    Equal to `numpy.linalg.norm` to the last bit; on a few vectors it takes 70 % of the time.
    """
    return np.asarray(np.sqrt(np.add.reduce(vector * vector, axis=-1, keepdims=True)))


def normalise(quaternion: Array) -> Array:
    """Normalise quaternions (..., 4); the zero quaternion becomes the identity."""
    length = _length(quaternion)
    return np.where(
        length > _TINY, quaternion / np.maximum(length, _TINY), IDENTITY.astype(quaternion.dtype)
    )


def multiply(a: Array, b: Array) -> Array:
    """Return the Hamilton product of quaternions (..., 4): rotation b, then a."""
    ax = a[..., 0]
    ay = a[..., 1]
    az = a[..., 2]
    aw = a[..., 3]
    bx = b[..., 0]
    by = b[..., 1]
    bz = b[..., 2]
    bw = b[..., 3]
    x = aw * bx + ax * bw + ay * bz - az * by
    out = np.empty((*x.shape, 4), dtype=x.dtype)
    out[..., 0] = x
    out[..., 1] = aw * by - ax * bz + ay * bw + az * bx
    out[..., 2] = aw * bz + ax * by - ay * bx + az * bw
    out[..., 3] = aw * bw - ax * bx - ay * by - az * bz
    return out


def inverse(quaternion: Array) -> Array:
    """Return the inverse of unit quaternions (..., 4)."""
    return quaternion * np.array([-1.0, -1.0, -1.0, 1.0], dtype=quaternion.dtype)


def _cross(a: Array, b: Array) -> Array:
    """Return cross products (..., 3).

    On single vectors, as on the live path, this takes a fifth of the time of `numpy.cross`.
    """
    return a.take(_YZX, -1) * b.take(_ZXY, -1) - a.take(_ZXY, -1) * b.take(_YZX, -1)


def rotate(quaternion: Array, vector: Array) -> Array:
    """Rotate vectors (..., 3) by unit quaternions (..., 4)."""
    xyz = quaternion[..., :3]
    w = quaternion[..., 3:]
    t = 2.0 * _cross(xyz, vector)
    return vector + w * t + _cross(xyz, t)


def to_matrix(quaternion: Array) -> Array:
    """Convert unit quaternions (..., 4) to rotation matrices (..., 3, 3)."""
    x = quaternion[..., 0]
    y = quaternion[..., 1]
    z = quaternion[..., 2]
    w = quaternion[..., 3]
    out = np.empty((*quaternion.shape[:-1], 3, 3), dtype=quaternion.dtype)
    out[..., 0, 0] = 1 - 2 * (y * y + z * z)
    out[..., 0, 1] = 2 * (x * y - z * w)
    out[..., 0, 2] = 2 * (x * z + y * w)
    out[..., 1, 0] = 2 * (x * y + z * w)
    out[..., 1, 1] = 1 - 2 * (x * x + z * z)
    out[..., 1, 2] = 2 * (y * z - x * w)
    out[..., 2, 0] = 2 * (x * z - y * w)
    out[..., 2, 1] = 2 * (y * z + x * w)
    out[..., 2, 2] = 1 - 2 * (x * x + y * y)
    return out


def from_matrix(matrix: Array) -> Array:
    """Convert rotation matrices (..., 3, 3) to unit quaternions (..., 4), w >= 0.

    Uses the largest pivot, which is numerically stable everywhere.
    """
    trace = matrix[..., 0, 0] + matrix[..., 1, 1] + matrix[..., 2, 2]
    pivots = np.empty((*matrix.shape[:-2], 4), dtype=matrix.dtype)
    pivots[..., :3] = matrix.diagonal(axis1=-2, axis2=-1)
    pivots[..., 3] = trace
    outer = np.empty((*matrix.shape[:-2], 4, 4), dtype=matrix.dtype)  # 4 q q^T
    outer[..., :3, :3] = matrix + np.swapaxes(matrix, -1, -2)
    outer[..., _XYZ, _XYZ] = 1 - trace[..., None] + 2 * pivots[..., :3]
    outer[..., 3, 0] = matrix[..., 2, 1] - matrix[..., 1, 2]
    outer[..., 3, 1] = matrix[..., 0, 2] - matrix[..., 2, 0]
    outer[..., 3, 2] = matrix[..., 1, 0] - matrix[..., 0, 1]
    outer[..., :3, 3] = outer[..., 3, :3]
    outer[..., 3, 3] = 1 + trace
    rows = outer.reshape(-1, 4, 4)
    largest = pivots.argmax(axis=-1).reshape(-1)
    quaternion = normalise(rows[np.arange(len(rows)), largest].reshape(pivots.shape))
    return np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def from_rotvec(rotvec: Array) -> Array:
    """Convert rotation vectors (..., 3) in rad to unit quaternions (..., 4)."""
    angle = _length(rotvec)
    half_sinc = 0.5 * np.sinc(angle / (2 * np.pi))
    return np.concatenate((rotvec * half_sinc, np.cos(angle / 2)), axis=-1)


def to_rotvec(quaternion: Array) -> Array:
    """Convert unit quaternions (..., 4) to rotation vectors (..., 3) in rad, at most pi long."""
    quaternion = np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    sine = _length(quaternion[..., :3])
    angle = 2 * np.arctan2(sine, quaternion[..., 3:])
    scale = np.where(sine > 1e-8, angle / np.maximum(sine, 1e-8), 2.0)
    return quaternion[..., :3] * scale


def angle_between(a: Array, b: Array) -> Array:
    """Return the angle in rad (...) between unit quaternions (..., 4), 0 to pi."""
    return np.asarray(np.linalg.norm(to_rotvec(multiply(inverse(a), b)), axis=-1))


def slerp(a: Array, b: Array, fraction: Array | float) -> Array:
    """Interpolate unit quaternions a and b (..., 4) at ``fraction`` (...) of the shorter path."""
    step = to_rotvec(multiply(inverse(a), b)) * np.asarray(fraction, dtype=a.dtype)[..., None]
    return multiply(a, from_rotvec(step))


def to_r6d(matrix: Array) -> Array:
    """Convert rotation matrices (..., 3, 3) to r6d (..., 6): first, then second column.

    See Zhou et al. (2019).
    """
    return np.concatenate((matrix[..., :, 0], matrix[..., :, 1]), axis=-1)


def from_r6d(r6d: Array) -> Array:
    """Convert r6d (..., 6), not necessarily orthonormal, to rotation matrices (..., 3, 3).

    Uses Gram-Schmidt (Zhou et al. 2019).
    """
    a = r6d[..., :3]
    b = r6d[..., 3:]
    x = a / np.maximum(_length(a), _TINY)
    y = b - np.add.reduce(x * b, axis=-1, keepdims=True) * x
    y = y / np.maximum(_length(y), _TINY)
    out = np.empty((*x.shape, 3), dtype=x.dtype)
    out[..., 0] = x
    out[..., 1] = y
    out[..., 2] = _cross(x, y)
    return out


def heading(quaternion: Array) -> Array:
    """Return the heading in rad (...) of unit quaternions (..., 4) that are identity facing +x.

    It is the direction of the rotated x axis seen from above. If x points straight up or down, the
    rotated z axis is used, which is then opposite to or along the heading.
    """
    x = quaternion[..., 0]
    y = quaternion[..., 1]
    z = quaternion[..., 2]
    w = quaternion[..., 3]
    forward_x = 1 - 2 * (y * y + z * z)
    forward_y = 2 * (x * y + z * w)
    forward_z = 2 * (x * z - y * w)
    up_x = 2 * (x * z + y * w)
    up_y = 2 * (y * z - x * w)
    steep = np.abs(forward_z) > 0.999
    sign = -np.sign(forward_z)
    return np.asarray(
        np.where(steep, np.arctan2(sign * up_y, sign * up_x), np.arctan2(forward_y, forward_x))
    )


def turn_about_z(quaternion: Array) -> Array:
    """Return the rotation about z in rad (...), -pi to pi, of quaternions (..., 4).

    It is the twist of the decomposition into twist and minimal tilt.
    """
    angle = 2 * np.arctan2(quaternion[..., 2], quaternion[..., 3])
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def about_z(angle: Array | float) -> Array:
    """Return unit quaternions (..., 4) that rotate by ``angle`` (...) rad about +z."""
    half = np.asarray(angle, dtype=np.float64) / 2
    zero = np.zeros_like(half)
    return np.stack((zero, zero, np.sin(half), np.cos(half)), axis=-1)


def between_vectors(a: Array, b: Array) -> Array:
    """Return the shortest rotation (unit quaternions (..., 4)) from direction a to b (..., 3)."""
    a = a / np.maximum(np.linalg.norm(a, axis=-1, keepdims=True), _TINY)
    b = b / np.maximum(np.linalg.norm(b, axis=-1, keepdims=True), _TINY)
    w = 1 + np.sum(a * b, axis=-1, keepdims=True)
    # for opposite vectors: any axis perpendicular to a
    least = np.eye(3)[np.argmin(np.abs(a), axis=-1)]
    across = _cross(a, least)
    opposite = w < 1e-9
    return normalise(
        np.concatenate(
            (np.where(opposite, across, _cross(a, b)), np.where(opposite, 0.0, w)), axis=-1
        )
    )


def continuous(quaternion: Array) -> Array:
    """Choose the signs of a series of unit quaternions (T, ..., 4) so that it is continuous.

    Successive quaternions are in the same hemisphere.
    """
    sign = np.ones(quaternion.shape[:-1])
    sign[1:] = np.where(np.sum(quaternion[1:] * quaternion[:-1], axis=-1) < 0, -1.0, 1.0)
    return quaternion * np.cumprod(sign, axis=0)[..., None]
