"""Training of the length-aware generator: the VAE, then the flow in its space."""

from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.generation import heading_frames
from hpstm_ros.model.geometry import gram_schmidt
from hpstm_ros.model.latent import LatentFlow, LatentModel, LatentVae
from hpstm_ros.model.motion_features import FeatureKinematics
from hpstm_ros.train.heading_windows import Clips, scales
from hpstm_ros.train.latent_data import (
    F32,
    FlowBatch,
    FlowBatches,
    Latents,
    SpanBatches,
    Spans,
    cut,
)
from pallas_ros.body.names import JOINTS, PARENTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.train.loop import LoopSettings, fit

_KINEMATICS = FeatureKinematics()
_POSITION = 4.0
_VELOCITY = 8.0
"""Weights of joint positions (m) and of their change per frame, as in `hpstm_ros.train.vq`."""
_PATH = 0.5
"""Weight of the pelvis path (m), which accumulates the errors of displacements and headings."""
_DIVERGENCE = 0.004
"""Weight of the Kullback-Leibler divergence per value; small, since the flow learns the
distribution.
"""
_LEAST_LEFT = 0.05
"""Lower bound of 1 - tau, by which the error of the velocity is divided."""
_CHECKED = 96
_FITTED = 1200
"""Number of spans for fitting the linear part: about ten thousand blocks."""
_STEP_WEIGHT = 10.0
_TURN_WEIGHT = 3.0
_HEIGHT_WEIGHT = 2.0
_LEAST_WEIGHT = 0.05
"""Weights relative to errors of joints in m: of displacements and heading changes, which accumulate
over frames, of the height of the pelvis, and a lower bound for terminal joints and for
contacts. With these weights, the error of the linear part is 2.5 cm for joints and 17 cm at the
end of the path (`validation_subjects`).
"""


def positions(frames: Tensor) -> Tensor:
    """Joint positions (..., 22, 3) m of frames (..., 138), relative to pelvis and heading."""
    r6d = frames[..., heading_frames.R6D].reshape(*frames.shape[:-1], len(JOINTS), 6)
    return _KINEMATICS.relative(gram_schmidt(r6d[..., :3], r6d[..., 3:]))


def path(frames: Tensor) -> Tensor:
    """Horizontal path (B, T, 2) m of the pelvis, relative to the first frame."""
    heading = frames[..., heading_frames.TURN].cumsum(-1)
    step = frames[..., heading_frames.STEP]
    c = heading.cos()
    s = heading.sin()
    turned = torch.stack(
        (c * step[..., 0] - s * step[..., 1], s * step[..., 0] + c * step[..., 1]), -1
    )
    return turned.cumsum(-2)


def weights() -> Tensor:
    """Weights (138,) of errors in each value of a frame, roughly in m over all joints.

    The orientation of a joint moves all joints distal to it.
    """
    offsets = np.linalg.norm(Skeleton.from_height().offsets, axis=-1)
    carried = np.ones(len(JOINTS))
    moved = np.zeros(len(JOINTS))
    for joint in range(len(JOINTS) - 1, 0, -1):
        carried[PARENTS[joint]] += carried[joint]
        moved[PARENTS[joint]] += np.square(offsets[joint]) * carried[joint]
    found = torch.full((heading_frames.FEATURES,), _LEAST_WEIGHT)
    found[heading_frames.STEP] = _STEP_WEIGHT
    found[heading_frames.TURN] = _TURN_WEIGHT
    found[heading_frames.HEIGHT] = _HEIGHT_WEIGHT
    each = torch.from_numpy(np.sqrt(moved)).float().clamp_min(_LEAST_WEIGHT)
    found[heading_frames.R6D] = each.repeat_interleave(6)
    return found


def fit_linear(model: LatentVae, clips: Clips, found: Spans, seed: int) -> None:
    """Fit the linear part of a VAE to spans drawn by their weight."""
    rng = np.random.default_rng(seed)
    chance = found.weight / found.weight.sum()
    rows = np.sort(rng.choice(len(found), _FITTED, p=chance))
    batches = []
    for part in np.array_split(rows, len(rows) // 40):
        flips = rng.integers(0, 2, len(part))
        frames, length = cut(clips, found, part, flips, model.config.patch)
        batches.append((frames, length, model.layout.unlocked(length)))
    model.linear.fit(batches, weights())


def vae_loss(module: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Loss of the VAE (scalar), and its terms: reconstruction of features, joints, their motion and
    the path, and the divergence.
    """
    model = cast(LatentVae, module)
    frames, length = batch
    decoded, mean, spread = model(frames, length)
    inside = (torch.arange(frames.shape[1]) < length).to(frames.dtype)
    share = inside / inside.sum()
    away = F.smooth_l1_loss(model.normalised(decoded), model.normalised(frames), reduction="none")
    features = (share[..., None] * away).sum() / away.shape[-1]
    # For every other motion, since forward kinematics costs as much as the network.
    half = inside[::2]
    with torch.no_grad():
        truth = positions(frames[::2])
    found = positions(decoded[::2])
    apart = (found - truth).norm(dim=-1).mean(-1)
    position = (half * apart).sum() / half.sum()
    step = (found.diff(dim=1) - truth.diff(dim=1)).norm(dim=-1).mean(-1)
    velocity = (half[:, 1:] * step).sum() / half[:, 1:].sum()
    gone = ((path(decoded) - path(frames)).square().sum(-1) + 1e-6).sqrt()
    drift = (share * gone).sum()
    unlocked = model.layout.unlocked(length)[..., None]
    each = 0.5 * (mean.square() + spread.exp() - spread - 1)
    divergence = (unlocked * each).sum() / (unlocked.sum() * each.shape[-1])
    loss = (
        features
        + _POSITION * position
        + _VELOCITY * velocity
        + _PATH * drift
        + _DIVERGENCE * divergence
    )
    return loss, {
        "features": float(features.detach()),
        "position_cm": 100 * float(position.detach()),
        "path_cm": 100 * float(drift.detach()),
        "divergence": float(divergence.detach()),
    }


def train_vae(
    model: LatentModel,
    data: tuple[Clips, Spans],
    validation: tuple[Clips, Spans],
    batch: int,
    loop: LoopSettings,
    folder: Path,
) -> None:
    """Train ``model.vae``. Resumes from ``folder``."""
    torch.manual_seed(loop.seed)
    torch.set_num_threads(1)
    clips, found = data
    mean, scale = scales(clips.frames[:, ::10])
    model.vae.mean.copy_(torch.from_numpy(mean))
    model.vae.scale.copy_(torch.from_numpy(scale))
    fit_linear(model.vae, clips, found, loop.seed)
    generator = torch.Generator().manual_seed(1 + loop.seed)
    patch = model.config.patch
    rng = np.random.default_rng(7)
    rows = np.sort(rng.choice(len(validation[1]), min(_CHECKED, len(validation[1])), replace=False))
    fixed = cut(*validation, rows, np.zeros_like(rows), patch)

    def validate(module: nn.Module) -> dict[str, float]:
        return reconstruction(cast(LatentVae, module), *fixed)

    print(f"linear part alone: {validate(model.vae.eval())}")
    batches = SpanBatches(clips, found, batch, patch, generator)
    fit(model.vae, batches, cast(Any, vae_loss), loop, folder, validate, generator)


@torch.no_grad()
def reconstruction(model: LatentVae, frames: Tensor, length: Tensor) -> dict[str, float]:
    """Mean error in cm of the joints, relative to the pelvis, and of the end of the path.

    Args:
        model: the trained model.
        frames: (B, T, 138).
        length: (B, 1) number of frames of each motion.
    """
    mean, _ = model.encode(frames, length)
    decoded = model.decode(mean, length, frames.shape[1])
    inside = (torch.arange(frames.shape[1]) < length).to(frames.dtype)
    error = (positions(decoded) - positions(frames)).norm(dim=-1).mean(-1)
    last = (length.long() - 1)[..., None].expand(-1, -1, 2)
    gone = (path(decoded) - path(frames)).gather(1, last).norm(dim=-1)
    return {
        "mpjpe_cm": 100 * float((inside * error).sum() / inside.sum()),
        "path_end_cm": 100 * float(gone.mean()),
    }


def importance(model: LatentVae) -> Tensor:
    """Influence (D,) of each value of a subspace on the decoded motion, with mean 1."""
    middle = model.linear.inverse[model.config.size : 2 * model.config.size]
    size: Tensor = (middle * weights().repeat(model.config.frames)).norm(dim=-1)
    return size / size.mean()


def flow_loss(
    module: nn.Module, batch: FlowBatch, weight: Tensor | None = None
) -> tuple[Tensor, dict[str, float]]:
    """The error of the flow's velocity over the unlocked subspaces, weighted by ``weight`` (D,)."""
    model = cast(LatentFlow, module)
    out = model(batch.noised, batch.tau, batch.text, batch.length, batch.whole)
    left = (1 - batch.tau).clamp_min(_LEAST_LEFT)[..., None]
    unlocked = model.layout.unlocked(batch.length)[..., None]
    error = unlocked * ((out - batch.state) / left).square()
    if weight is not None:
        error = error * weight
    loss = error.sum() / (unlocked.sum() * error.shape[-1])
    return loss, {"flow": float(loss.detach())}


def scaling(data: Latents) -> tuple[F32, F32]:
    """Mean and scale (D,) of the values of unlocked subspaces."""
    inside = data.deviation[..., 0] > 0
    found = data.mean[inside]
    noise = data.deviation[inside]
    spread = np.sqrt(found.var(axis=0) + np.square(noise).mean(axis=0))
    return found.mean(axis=0), np.asarray(spread, np.float32)


def train_flow(
    model: LatentModel,
    data: Latents,
    validation: Latents,
    batch: int,
    loop: LoopSettings,
    folder: Path,
) -> None:
    """Train ``model.flow`` in the space of ``model.vae``. Resumes from ``folder``."""
    torch.manual_seed(loop.seed)
    torch.set_num_threads(1)
    mean, scale = scaling(data)
    model.flow.mean.copy_(torch.from_numpy(mean))
    model.flow.scale.copy_(torch.from_numpy(scale))
    generator = torch.Generator().manual_seed(1 + loop.seed)
    batches = FlowBatches(data, (mean, scale), batch, generator, model.config)
    checked = FlowBatches(validation, (mean, scale), batch, torch.Generator(), model.config)
    fixed = [checked.draw(np.random.default_rng(seed)) for seed in range(6)]

    loss = partial(flow_loss, weight=importance(model.vae))

    def validate(module: nn.Module) -> dict[str, float]:
        return {"validation_flow": float(np.mean([float(loss(module, b)[0]) for b in fixed]))}

    fit(model.flow, batches, cast(Any, loss), loop, folder, validate, generator)
