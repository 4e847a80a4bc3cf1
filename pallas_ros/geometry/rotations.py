"""Rotations in torch for training, batched over leading axes.

Quaternions are xyzw; r6d as in `pallas_ros.body.rotations`.
"""

import torch
from torch import Tensor


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Return the Hamilton product of quaternions (..., 4): rotation b, then a."""
    av = a[..., :3]
    aw = a[..., 3:]
    bv = b[..., :3]
    bw = b[..., 3:]
    vector = aw * bv + bw * av + torch.linalg.cross(*torch.broadcast_tensors(av, bv))
    return torch.cat((vector, aw * bw - (av * bv).sum(-1, keepdim=True)), dim=-1)


def inverse(q: Tensor) -> Tensor:
    """Return the inverse of unit quaternions (..., 4)."""
    return torch.cat((-q[..., :3], q[..., 3:]), dim=-1)


def normalise(q: Tensor) -> Tensor:
    """Scale quaternions or vectors (..., n) to unit length."""
    return torch.nn.functional.normalize(q, dim=-1, eps=1e-9)


def nlerp(a: Tensor, b: Tensor, fraction: Tensor) -> Tensor:
    """Interpolate between unit quaternions (..., 4) at ``fraction`` (..., 1) of the shorter path.

    Normalised linear interpolation, which equals slerp to second order.
    """
    sign = torch.where((a * b).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return normalise(a + (sign * b - a) * fraction)


def from_rotvec(rotvec: Tensor) -> Tensor:
    """Convert rotation vectors (..., 3) in rad to unit quaternions (..., 4)."""
    angle = rotvec.norm(dim=-1, keepdim=True)
    return torch.cat(
        (rotvec * (0.5 * torch.sinc(angle / (2 * torch.pi))), torch.cos(angle / 2)), dim=-1
    )


def about_z(angle: Tensor) -> Tensor:
    """Return unit quaternions (..., 4) that rotate by ``angle`` (...) about +z."""
    zero = torch.zeros_like(angle)
    return torch.stack((zero, zero, torch.sin(angle / 2), torch.cos(angle / 2)), dim=-1)


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors (..., 3) by unit quaternions (..., 4)."""
    xyz, v = torch.broadcast_tensors(q[..., :3], v)
    t = 2.0 * torch.linalg.cross(xyz, v)
    turned: Tensor = v + q[..., 3:] * t + torch.linalg.cross(xyz, t)
    return turned


def to_matrix(q: Tensor) -> Tensor:
    """Convert unit quaternions (..., 4) to rotation matrices (..., 3, 3)."""
    x, y, z, w = q.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def heading(q: Tensor) -> Tensor:
    """Return the heading (...) of unit quaternions (..., 4): the rotated x axis from above."""
    x, y, z, w = q.unbind(-1)
    return torch.atan2(2 * (x * y + z * w), 1 - 2 * (y * y + z * z))


def to_r6d(matrix: Tensor) -> Tensor:
    """Convert rotation matrices (..., 3, 3) to their first two columns (..., 6)."""
    return torch.cat((matrix[..., :, 0], matrix[..., :, 1]), dim=-1)


def from_r6d(r6d: Tensor) -> Tensor:
    """Convert r6d (..., 6), not necessarily orthonormal, to rotation matrices (..., 3, 3).

    Uses Gram-Schmidt.
    """
    a = r6d[..., :3]
    b = r6d[..., 3:]
    x = a / (a.square().sum(-1, keepdim=True) + 1e-8).sqrt()
    y = b - (x * b).sum(-1, keepdim=True) * x
    y = y / (y.square().sum(-1, keepdim=True) + 1e-8).sqrt()
    x0, x1, x2 = x.unbind(-1)
    y0, y1, y2 = y.unbind(-1)
    z = torch.stack((x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0), dim=-1)
    return torch.stack((x, y, z), dim=-1)
