"""Training of text to pose: a DDPM that predicts the clean pose, with an anatomy loss."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import DDPMScheduler
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hpstm_ros.generation.poses import TRAINED_STEPS, TextInputs
from hpstm_ros.model.text_pose import TextPose, TextPoseConfig
from hpstm_ros.train.text_pose.data import PoseSet
from pallas_ros.body.names import JOINTS, PARENTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.train.loop import LoopSettings, fit

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training run.

    Attributes:
        batch: poses per step.
        size: number of poses of the data set.
        balanced: whether clusters are sampled equally.
        without_text: share of a batch without text, for guidance.
        anatomy: weight of the errors of positions and rotations.
        seed: of weights and data.
        model: shape of the network.
        loop: length and speed.
    """

    batch: int = 64
    size: int = 12_000
    balanced: bool = True
    without_text: float = 0.1
    anatomy: float = 2.0
    seed: int = 1
    model: TextPoseConfig = field(default_factory=TextPoseConfig)
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(steps=2000, learning_rate=2e-3, validate_every=200)
    )


@dataclass
class Batch:
    """Noisy and clean poses, with texts."""

    noisy: Tensor
    time: Tensor
    tokens: Tensor
    mask: Tensor
    explicit: Tensor
    clean: Tensor
    left: Tensor


class Texts:
    """Texts of a data set as arrays, tokens in half precision."""

    def __init__(self, inputs: Sequence[TextInputs]) -> None:
        self.tokens = np.stack([one.tokens.astype(np.float16) for one in inputs])
        self.mask = np.stack([one.mask for one in inputs])
        self.explicit = np.stack([one.explicit for one in inputs])


class Stream(Iterator[Batch]):
    """Infinite iterator of batches; all random numbers come from ``generator``."""

    def __init__(
        self,
        poses: PoseSet,
        texts: Texts,
        scale: tuple[F32, F32],
        settings: TrainingSettings,
        generator: torch.Generator,
    ) -> None:
        self._poses = poses
        self._texts = texts
        self._settings = settings
        self._generator = generator
        mean, deviation = scale
        self._rows = ((poses.rows - mean) / deviation).astype(np.float32)
        scheduler: Any = DDPMScheduler
        self._scheduler = scheduler(TRAINED_STEPS, beta_schedule="squaredcos_cap_v2")

    def __next__(self) -> Batch:
        """The next batch."""
        s = self._settings
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=self._generator)))
        chosen = rng.integers(len(self._rows), size=s.batch)
        text = np.array([rng.choice(self._poses.of[i]) for i in chosen])
        kept = (rng.random(s.batch) >= s.without_text).astype(np.float32)[:, None]
        clean = torch.from_numpy(self._rows[chosen])
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        time = torch.from_numpy(rng.integers(0, TRAINED_STEPS, s.batch))
        noisy = self._scheduler.add_noise(clean, noise, time)
        return Batch(
            noisy,
            time[:, None].float() / TRAINED_STEPS,
            torch.from_numpy(self._texts.tokens[text].astype(np.float32)),
            torch.from_numpy(self._texts.mask[text] * kept),
            torch.from_numpy(self._texts.explicit[text] * kept),
            clean,
            self._scheduler.alphas_cumprod[time],
        )


class Anatomy:
    """Errors of bodies: joint positions by forward kinematics, and invalid rotations."""

    def __init__(self, scale: tuple[F32, F32]) -> None:
        self._mean, self._deviation = (torch.from_numpy(x) for x in scale)
        self._offsets = torch.from_numpy(Skeleton.from_height().offsets.astype(np.float32))

    def positions(self, rows: Tensor) -> Tensor:
        """Root-centred positions (B, 22, 3) m of standardised rows (B, 24, 6)."""
        a, b = self._vectors(rows)
        x = functional.normalize(a, dim=-1)
        y = functional.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
        matrices = torch.stack((x, y, torch.linalg.cross(x, y)), dim=-1)
        placed = [torch.zeros_like(a[:, 0])]
        for joint in range(1, len(JOINTS)):
            parent = PARENTS[joint]
            placed.append(placed[parent] + matrices[:, parent] @ self._offsets[joint])
        return torch.stack(placed, dim=1)

    def skewness(self, rows: Tensor) -> Tensor:
        """Deviation (B,) of the two vectors of each r6d rotation from orthonormality."""
        a, b = self._vectors(rows)
        lengths = (a.norm(dim=-1) - 1).square() + (b.norm(dim=-1) - 1).square()
        skew: Tensor = (lengths + (a * b).sum(-1).square()).mean(-1)
        return skew

    def _vectors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        r6d = (rows * self._deviation + self._mean)[:, : len(JOINTS)]
        return r6d[..., :3], r6d[..., 3:]


def scale_of(rows: F32) -> tuple[F32, F32]:
    """Mean and standard deviation (24, 6) of poses, with a lower bound of the deviation."""
    return rows.mean(0), np.maximum(rows.std(0), 0.08).astype(np.float32)


def loss(
    model: TextPose, batch: Batch, anatomy: Anatomy, weight: float
) -> tuple[Tensor, dict[str, float]]:
    """Loss (scalar), and its terms: error of the clean pose, weighted by the signal-to-noise ratio,
    and of the anatomy.
    """
    clean, _ = model(batch.noisy, batch.time, batch.tokens, batch.mask, batch.explicit)
    ratio = batch.left / (1 - batch.left)
    importance = ratio.clamp(max=5.0) / (ratio.clamp(max=5.0) + 0.2)  # min-SNR, Hang 2023
    square = (clean - batch.clean).square().mean((1, 2))
    away = anatomy.positions(clean) - anatomy.positions(batch.clean)
    body = 10 * away.square().sum(-1).mean(-1) + anatomy.skewness(clean)
    value = (importance * (square + weight * body)).mean()
    return value, {"pose": float(square.detach().mean()), "anatomy": float(body.detach().mean())}


def train(
    poses: PoseSet, inputs: Sequence[TextInputs], settings: TrainingSettings, folder: Path
) -> tuple[TextPose, tuple[F32, F32]]:
    """Train, resuming from ``folder``; return the averaged model and the scale of its poses."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    scale = scale_of(poses.rows)
    texts = Texts(inputs)
    model = TextPose(settings.model)
    generator = torch.Generator().manual_seed(settings.seed)
    stream = Stream(poses, texts, scale, settings, generator)
    anatomy = Anatomy(scale)
    fit(
        model,
        stream,
        cast("Any", lambda m, batch: loss(m, batch, anatomy, settings.anatomy)),
        settings.loop,
        folder,
        None,
        generator,
    )
    return model, scale
