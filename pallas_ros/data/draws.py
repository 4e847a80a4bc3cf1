"""Random values for training data: probabilities, ranges and waves, from a `torch.Generator`."""

import math

import torch
from torch import Tensor

from pallas_ros.body.names import MODEL_RATE_HZ


def child_generator(generator: torch.Generator) -> torch.Generator:
    """A new generator, seeded by one draw from ``generator``."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return torch.Generator().manual_seed(seed)


def uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Return uniformly distributed numbers from ``low`` to ``high``."""
    return low + (high - low) * torch.rand(*shape, generator=generator)


def log_uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Return numbers from ``low`` to ``high`` whose logarithms are uniformly distributed."""
    return uniform(generator, math.log(low), math.log(high), *shape).exp()


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Return numbers of the standard normal distribution."""
    return torch.randn(*shape, generator=generator)


def chance(generator: torch.Generator, probability: float, *shape: int) -> Tensor:
    """Return True with the given probability."""
    return torch.rand(*shape, generator=generator) < probability


def rows(generator: torch.Generator, probability: float, count: int) -> Tensor:
    """Return the indices of those of ``count`` rows that are selected with this probability."""
    return torch.nonzero(chance(generator, probability, count))[:, 0]


def sines(frequency: Tensor, phase: Tensor, frames: int) -> Tensor:
    """Sine waves (..., T) of frequencies (...) in Hz and phases (...) in rad."""
    t = torch.arange(frames) / MODEL_RATE_HZ
    return torch.sin(2 * torch.pi * frequency[..., None] * t + phase[..., None])


def slow_noise(
    batch: tuple[int, ...],
    frames: int,
    generator: torch.Generator,
    low: float = 0.5,
    high: float = 3.0,
) -> Tensor:
    """Unit-variance slow noise (*batch, T): three sines of random frequency (Hz) and phase."""
    frequency = uniform(generator, low, high, *batch, 3)
    phase = 2 * torch.pi * torch.rand(*batch, 3, generator=generator)
    waves: Tensor = sines(frequency, phase, frames).sum(-2) * (2 / 3) ** 0.5
    return waves
