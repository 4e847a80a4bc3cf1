"""Timed paths between keys, for limbs that move between poses and bodies that wander."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.data import draws
from pallas_ros.geometry import rotations


@dataclass(frozen=True)
class Path:
    """Position of N windows along a path of keys, at each of T frames.

    Attributes:
        segment: (N, T) index of the previous key.
        part: (N, T) fraction of the path from it to the next key, 0 to 1.
    """

    segment: Tensor
    part: Tensor


def timed(generator: torch.Generator, count: int, frames: int, keys: int) -> Path:
    """Path with keys 0.5 to 2 s apart, travelled in part at one pace per window; moves ease in and
    out (smoothstep), and keys are held for up to three quarters of the time.
    """
    gaps = draws.uniform(generator, 0.5, 2.0, count, keys - 1)
    times = torch.cat((torch.zeros(count, 1), torch.cumsum(gaps, 1)), 1)
    # part of the path that is travelled: how fast the limb moves
    length = draws.uniform(generator, 0.35, 1.3, count)[:, None] * (frames / 128)
    at = torch.linspace(0, 1, frames)[None] * times[:, -1:] * length.clamp(max=1.0)
    segment = (torch.searchsorted(times, at.contiguous(), right=True) - 1).clamp(0, keys - 2)
    begin = torch.gather(times, 1, segment)
    end = torch.gather(times, 1, segment + 1)
    # part of the time that a pose is held
    rest = draws.uniform(generator, -0.5, 0.75, count).clamp_min(0)[:, None]
    part = ((at - begin) / (end - begin) / (1 - rest)).clamp(0, 1)
    return Path(segment, part * part * (3 - 2 * part))


def brisk(generator: torch.Generator, count: int, frames: int, keys: int) -> Path:
    """Path of minimum-jerk moves of 0.12 to 1.5 s (Flash and Hogan 1985), each after a rest of
    0.15 s on average.
    """
    move = draws.log_uniform(generator, 0.12, 1.5, count, keys - 1)
    rest = torch.empty(count, keys - 1).exponential_(1 / 0.15, generator=generator)
    ends = torch.cumsum(move + rest, dim=1)
    spare = (ends[:, -1:] - frames / MODEL_RATE_HZ).clamp_min(0)
    start = torch.rand(count, 1, generator=generator) * spare
    now = start + torch.arange(frames) / MODEL_RATE_HZ
    segment = torch.searchsorted(ends, now.contiguous()).clamp(max=keys - 2)
    took = torch.gather(move, 1, segment)
    part = ((now - torch.gather(ends, 1, segment) + took) / took).clamp(0, 1)
    return Path(segment, part**3 * (10 - 15 * part + 6 * part**2))


def between(keys: Tensor, path: Path) -> Tensor:
    """Return values (N, T, ...) interpolated linearly between keys (N, K, ...)."""
    rows = torch.arange(len(keys))[:, None]
    left = keys[rows, path.segment]
    part = path.part.reshape(*path.part.shape, *(1,) * (keys.ndim - 2))
    return left + (keys[rows, path.segment + 1] - left) * part


def along(q_keys: Tensor, path: Path) -> Tensor:
    """Return orientations (N, T, ..., 4) interpolated between keys (N, K, ..., 4).

    The rotation from a key to the next is the shorter one if their signs agree: see `successive`.
    """
    return rotations.normalise(between(q_keys, path))


def successive(q_keys: Tensor) -> Tensor:
    """Return keys (N, K, ..., 4) with signs that make each rotation to the next the shorter one."""
    agree = (q_keys[:, 1:] * q_keys[:, :-1]).sum(-1, keepdim=True) >= 0
    sign = torch.where(agree, 1.0, -1.0).cumprod(1)
    return torch.cat((q_keys[:, :1], q_keys[:, 1:] * sign), dim=1)


def like_the_first(q_keys: Tensor) -> Tensor:
    """Return keys (N, K, ..., 4) with signs for which the rotation from the first key to any other
    is the shorter one; rotations between the others may be longer than half a turn.
    """
    agree = (q_keys * q_keys[:, :1]).sum(-1, keepdim=True) >= 0
    return q_keys * torch.where(agree, 1.0, -1.0)


def wander(generator: torch.Generator, count: int, frames: int, size: Tensor) -> Tensor:
    """Return vectors (count, T, 3) through four keys, ``size`` (3,) apart (standard deviation)."""
    keys = torch.cumsum(size * draws.normal(generator, count, 4, 3), dim=1)
    return between(keys, brisk(generator, count, frames, 4))
