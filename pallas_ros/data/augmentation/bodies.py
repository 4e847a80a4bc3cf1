"""Mirroring and rotation of whole bodies and their root paths."""

import torch
from torch import Tensor

from pallas_ros.body.names import MIRROR
from pallas_ros.geometry import rotations

_MIRRORED_Q = (-1.0, 1.0, -1.0, 1.0)
_MIRRORED_P = (1.0, -1.0, 1.0)


def mirror(which: Tensor, q: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Exchange left and right of the windows ``which`` (B,), by reflection in the x-z plane.

    Args:
        which: bool.
        q: (B, T, 22, 4).
        root: (B, T, 3), the pelvis.
    """
    q_mirrored = q[:, :, list(MIRROR)] * torch.tensor(_MIRRORED_Q)
    root_mirrored = root * torch.tensor(_MIRRORED_P)
    return (
        torch.where(which[:, None, None, None], q_mirrored, q),
        torch.where(which[:, None, None], root_mirrored, root),
    )


def turn(q_turn: Tensor, q: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Turn bodies (B, T, 22, 4) and their root paths (B, T, 3) about the world's origin by one
    rotation (B, 4) per window.
    """
    return (
        rotations.multiply(q_turn[:, None, None], q),
        rotations.rotate(q_turn[:, None], root),
    )


def lying(q: Tensor, angle: Tensor) -> Tensor:
    """Return rotations (B, 4) that tip bodies (B, T, 22, 4) by an angle (B,) in rad, forward or
    backward about the lateral axis of their first frame.
    """
    zero = torch.zeros_like(angle)
    lateral = torch.stack((zero, angle, zero), -1)
    q_heading = rotations.about_z(rotations.heading(q[:, :1, 0])[:, 0])
    return rotations.from_rotvec(rotations.rotate(q_heading, lateral))
