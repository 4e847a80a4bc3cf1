"""Ways from key to key in time, for limbs that move between poses and bodies that wander."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.data import draws
from pallas_ros.geometry import rotations


@dataclass(frozen=True)
class Path:
    """Where on the way along some keys N windows are at each of T frames.

    Attributes:
        segment: (N, T) the key that was left last.
        part: (N, T) how far on the way from it to the next one, 0 to 1.
    """

    segment: Tensor
    part: Tensor


def timed(generator: torch.Generator, count: int, frames: int, keys: int) -> Path:
    """Keys 0.5 to 2 s apart, of which a part of the way is travelled at one pace; moves ease in and
    out (smoothstep) and keys are held for up to three quarters of the time.
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
    """Moves of 0.12 to 1.5 s with minimum jerk (Flash and Hogan 1985), rests of 0.15 s on average
    before them.
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
    """Values (N, T, ...) on the way along keys (N, K, ...), straight from each to the next."""
    rows = torch.arange(len(keys))[:, None]
    left = keys[rows, path.segment]
    part = path.part.reshape(*path.part.shape, *(1,) * (keys.ndim - 2))
    return left + (keys[rows, path.segment + 1] - left) * part


def along(q_keys: Tensor, path: Path) -> Tensor:
    """Orientations (N, T, ..., 4) on the way along keys (N, K, ..., 4).

    The way from a key to the next is the shorter one where their signs agree: see `successive`.
    """
    return rotations.normalise(between(q_keys, path))


def successive(q_keys: Tensor) -> Tensor:
    """Keys (N, K, ..., 4) with signs by which each way from one to the next is the shorter one."""
    agree = (q_keys[:, 1:] * q_keys[:, :-1]).sum(-1, keepdim=True) >= 0
    sign = torch.where(agree, 1.0, -1.0).cumprod(1)
    return torch.cat((q_keys[:, :1], q_keys[:, 1:] * sign), dim=1)


def like_the_first(q_keys: Tensor) -> Tensor:
    """Keys (N, K, ..., 4) with signs by which the way from the first to any is the shorter one;
    those between others may be the longer ones, of more than half a turn.
    """
    agree = (q_keys * q_keys[:, :1]).sum(-1, keepdim=True) >= 0
    return q_keys * torch.where(agree, 1.0, -1.0)


def wander(generator: torch.Generator, count: int, frames: int, size: Tensor) -> Tensor:
    """Vectors (count, T, 3) that go along four keys, ``size`` (3,) apart (standard deviation)."""
    keys = torch.cumsum(size * draws.normal(generator, count, 4, 3), dim=1)
    return between(keys, brisk(generator, count, frames, 4))
