"""The linear part of the length-aware VAE: principal components of half a second of motion.

A motion is stretched in time until each unlocked subspace has as many frames as unlock one. Its
principal components are the subspace; neighbours help to decode it, so that no seam shows.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FEWEST_BLOCKS = 8
"""Blocks a component that are needed to estimate it."""


class LinearPart(nn.Module):
    """Encodes and decodes frames linearly; all of it is fitted in closed form by `fit`.

    Args:
        size: D, components of a block.
        frames: r, frames of a block.
        features: numbers of a frame.
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
        """Blocks (B, K, r F) of frames (B, T, F), from the centre; 0 where locked."""
        k = unlocked.shape[1]
        wanted = _places(unlocked.sum(-1, keepdim=True) * self.frames, k * self.frames)
        stretched = _between(wanted, length, frames.shape[1]) @ frames
        rows = stretched.reshape(-1, k, self.frames * self.features)
        return (rows - self.centre) * unlocked[..., None]

    def encode(self, blocks: Tensor) -> Tensor:
        """Components (B, K, D) of unit variance of blocks (B, K, r F)."""
        return blocks @ self.basis.T

    def decode(self, latent: Tensor, length: Tensor, unlocked: Tensor, frames: int) -> Tensor:
        """Frames (B, ``frames``, F) of components (B, K, D); beyond the end they repeat."""
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
        """Find the components, the noise that they bear, and the best way back.

        A component's noise is that of the first one left out, the level at which a block is known
        anyway; the way back is the least-squares one under that noise.

        Args:
            batches: frames (B, T, F), lengths (B, 1) and unlocked subspaces (B, K).
            weight: (F,) of errors in each number of a frame.

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
    """(B, count): middles of frames as parts of a motion of ``length`` (B, 1), at most its end."""
    place = torch.arange(count, dtype=length.dtype, device=length.device) + 0.5
    return torch.minimum(place, length - 0.5) / length


def _between(wanted: Tensor, length: Tensor, count: int) -> Tensor:
    """(B, M, ``count``): weights that interpolate linearly at places (B, M) from frames.

    The frames from ``length`` (B, 1) on have no weight.
    """
    frame = torch.arange(count, dtype=length.dtype, device=length.device)
    at = wanted * length - 0.5
    near = (1 - (at[..., None] - frame).abs()).clamp_min(0.0)
    near = near * (frame < length).to(near.dtype)[:, None]
    return near / near.sum(-1, keepdim=True).clamp_min(1e-6)
