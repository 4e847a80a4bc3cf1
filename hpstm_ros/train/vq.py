"""Training of the VQ-VAE of motion tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.model.tokens import VqConfig, VqVae
from hpstm_ros.train.heading_windows import Clips, joint_positions, scales
from pallas_ros.train.loop import LoopSettings, fit

WINDOW = 64
"""Frames of a training window: 2 s."""
_REVIVE_EVERY = 25
_REVIVE_UNTIL = 0.7
"""Fraction of the training after which unused entries are kept, so that averaged weights
converge.
"""
_POSITION = 4.0
_VELOCITY = 8.0
"""Weights of joint positions (m) and of their change per frame, relative to normalised features,
chosen so that all terms have about the same size after 500 steps.
"""


class Windows(Iterator[Tensor]):
    """Infinite iterator of batches of windows; all random numbers come from ``generator``."""

    def __init__(self, clips: Clips, batch: int, generator: torch.Generator) -> None:
        self._clips = clips
        self._batch = batch
        self._generator = generator

    def __next__(self) -> Tensor:
        """(batch, 64, 138)."""
        seed = int(torch.randint(2**62, (1,), generator=self._generator))
        return torch.from_numpy(self._clips.draw(self._batch, WINDOW, np.random.default_rng(seed)))


class Loss:
    """Loss of the VQ-VAE, and maintenance of its codebook."""

    def __init__(self, steps: int) -> None:
        self._step = 0
        self._until = int(_REVIVE_UNTIL * steps)
        self._used: Tensor | None = None

    def __call__(self, module: nn.Module, frames: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch of frames (B, 64, 138), and figures to log."""
        model = cast(VqVae, module)
        decoded, quantised, codes, z = model(frames)
        self._care(model, codes, z)
        features = F.smooth_l1_loss(model.normalised(decoded), model.normalised(frames))
        # For every other window, since forward kinematics costs as much as the convolutions.
        with torch.no_grad():
            truth = joint_positions(frames[::2])
        found = joint_positions(decoded[::2])
        position = (found - truth).norm(dim=-1).mean()
        velocity = (found.diff(dim=1) - truth.diff(dim=1)).norm(dim=-1).mean()
        loss = features + _POSITION * position + _VELOCITY * velocity + quantised
        figures = {
            "features": float(features.detach()),
            "position_cm": 100 * float(position.detach()),
            "quantised": float(quantised.detach()),
            "used": float(len(torch.unique(codes))),
        }
        return loss, figures

    def _care(self, model: VqVae, codes: Tensor, z: Tensor) -> None:
        """Count the used entries, and move unused ones."""
        if self._used is None:
            self._used = torch.zeros(model.config.codes, dtype=torch.bool)
            if float(model.codebook.detach().abs().max()) > 0 and self._step == 0:
                model.revive(torch.ones(model.config.codes, dtype=torch.bool), z)
        self._used[codes.reshape(-1)] = True
        self._step += 1
        if self._step % _REVIVE_EVERY == 0:
            if self._step < self._until:
                model.revive(~self._used, z)
            self._used.zero_()


def train_vq(
    clips: Clips, validation: Clips, config: VqConfig, batch: int, loop: LoopSettings, folder: Path
) -> VqVae:
    """Train; the model with its averaged weights. Resumes from ``folder``."""
    torch.manual_seed(loop.seed)
    torch.set_num_threads(1)
    model = VqVae(config)
    mean, scale = scales(clips.frames[:, ::10])
    model.mean.copy_(torch.from_numpy(mean))
    model.scale.copy_(torch.from_numpy(scale))
    generator = torch.Generator().manual_seed(1 + loop.seed)
    fixed = torch.from_numpy(validation.draw(128, WINDOW, np.random.default_rng(7)))

    def validate(module: nn.Module) -> dict[str, float]:
        return reconstruction(cast(VqVae, module), fixed)

    loss: Any = Loss(loop.steps)
    windows = Windows(clips, batch, generator)
    return cast(VqVae, fit(model, windows, loss, loop, folder, validate, generator))


def reconstruction(model: VqVae, frames: Tensor) -> dict[str, float]:
    """Joint error in cm, and used share of the codebook in %, over windows (N, T, size)."""
    codes = model.encode(frames)
    error = (joint_positions(model.decode(codes)) - joint_positions(frames)).norm(dim=-1)
    used = len(torch.unique(codes)) / model.config.codes
    return {"mpjpe_cm": 100 * float(error.mean()), "used_percent": 100 * used}
