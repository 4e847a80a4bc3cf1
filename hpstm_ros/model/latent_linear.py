"""The linear part of the length-aware VAE: principal components of half a second of motion.

A motion is stretched in time so that each unlocked subspace corresponds to a block of r frames. The
principal components of a block are the subspace; it is decoded together with its neighbours, which
avoids seams.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FEWEST_BLOCKS = 8
"""Minimum number of blocks per component for its estimation."""


class LinearPart(nn.Module):
    """Encodes and decodes frames linearly; `fit` computes all parameters in closed form.

    Args:
        size: D, components of a block.
        frames: r, frames of a block.
        features: F, values per frame.
    """

    centre: Tensor
    basis: Tensor
    inverse: Tensor
    spread: Tensor

    def __init__(self, size: int, frames: int, features: int) -> None:
        super().__init__()
        self.size = size
        self.frames = frames
        self.features = features
        self.register_buffer("centre", torch.zeros(frames * features))
        self.register_buffer("basis", torch.zeros(size, frames * features))
        self.register_buffer("inverse", torch.zeros(3 * size, frames * features))
        self.register_buffer("spread", torch.zeros(size))

    def blocks(self, frames: Tensor, length: Tensor, unlocked: Tensor) -> Tensor:
        """Split frames (B, T, F) into centred blocks (B, K, r F); 0 for locked subspaces."""
        k = unlocked.shape[1]
        wanted = _places(unlocked.sum(-1, keepdim=True) * self.frames, k * self.frames)
        stretched = _between(wanted, length, frames.shape[1]) @ frames
        rows = stretched.reshape(-1, k, self.frames * self.features)
        return (rows - self.centre) * unlocked[..., None]

    def encode(self, blocks: Tensor) -> Tensor:
        """Encode blocks (B, K, r F) as components (B, K, D) of unit variance."""
        return blocks @ self.basis.T

    def decode(self, latent: Tensor, length: Tensor, unlocked: Tensor, frames: int) -> Tensor:
        """Decode components (B, K, D) to frames (B, ``frames``, F), repeated beyond the end."""
        b, k, _ = latent.shape
        x = latent * unlocked[..., None]
        beside = F.pad(x, (0, 0, 1, 1))
        rows = torch.cat((beside[:, :-2], x, beside[:, 2:]), -1) @ self.inverse + self.centre
        flat = rows.reshape(b, k * self.frames, self.features)
        have = unlocked.sum(-1, keepdim=True) * self.frames
        out: Tensor = _between(_places(length, frames), have, k * self.frames) @ flat
        return out

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[Tensor, Tensor, Tensor]], weight: Tensor) -> None:
        """Compute the components, their noise level, and the optimal decoder.

        The noise level is the standard deviation of the first omitted component, which limits the
        accuracy of a block anyway; the decoder is the least-squares solution for this noise.

        Args:
            batches: frames (B, T, F), lengths (B, 1) and unlocked subspaces (B, K).
            weight: (F,) weight of errors in each value of a frame.

        Raises:
            ValueError: there are too few blocks.
        """
        self.centre.zero_()
        given = [(self.blocks(f, n, u), u > 0) for f, n, u in batches]
        rows = torch.cat([x[u] for x, u in given])
        if len(rows) < _FEWEST_BLOCKS * self.size:
            raise ValueError(f"{len(rows)} blocks are too few for {self.size} components")
        scale = weight.repeat(self.frames)
        centre = rows.mean(0)
        scaled = (rows - centre) * scale
        values, vectors = torch.linalg.eigh(scaled.T @ scaled / len(rows))
        values = values.flip(0).clamp_min(1e-9)
        vectors = vectors.flip(1)[:, : self.size]
        cut = values[min(self.size, len(values) - 1)]
        values = values[: self.size]
        self.centre.copy_(centre)
        self.basis.copy_((vectors / values.sqrt()).T * scale)
        self.spread.copy_((cut / values).clamp_max(1.0).log())
        near = []
        for x, used in given:
            z = ((x - centre) @ self.basis.T) * used[..., None]
            beside = F.pad(z, (0, 0, 1, 1))
            near.append(torch.cat((beside[:, :-2], z, beside[:, 2:]), -1)[used])
        z = torch.cat(near)
        noise = torch.diag(self.spread.exp().repeat(3))
        both = z.T @ z / len(z) + noise
        self.inverse.copy_(torch.linalg.solve(both, z.T @ (rows - centre) / len(z)))


def _places(length: Tensor, count: int) -> Tensor:
    """Centres of frames (B, count) as fractions of a motion of ``length`` (B, 1), at most 1."""
    place = torch.arange(count, dtype=length.dtype, device=length.device) + 0.5
    return torch.minimum(place, length - 0.5) / length


def _between(wanted: Tensor, length: Tensor, count: int) -> Tensor:
    """Weights (B, M, ``count``) of a linear interpolation between frames at positions (B, M).

    Frames from ``length`` (B, 1) on have zero weight.
    """
    frame = torch.arange(count, dtype=length.dtype, device=length.device)
    at = wanted * length - 0.5
    near = (1 - (at[..., None] - frame).abs()).clamp_min(0.0)
    near = near * (frame < length).to(near.dtype)[:, None]
    return near / near.sum(-1, keepdim=True).clamp_min(1e-6)
