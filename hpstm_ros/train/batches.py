"""Training windows for HPSTM: motion from the library, made into other motion of other bodies
(`variation`), then spoiled by `noise`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpstm_ros.train.noise import (
    DESIGN_NOISE,
    TRAINING_FAILURES,
    Failures,
    Noise,
    add_failures,
    add_noise,
)
from hpstm_ros.train.variation import STRONG, Variation, vary
from pallas_ros.body import rotations
from pallas_ros.body.names import JOINTS, MIRROR, PARENTS
from pallas_ros.body.skeleton import DEFAULT_HEIGHT_M, Skeleton
from pallas_ros.data.augmentation.windows import ClipFrames
from pallas_ros.data.library import LibraryClip, MotionLibrary

F32 = NDArray[np.float32]

_MIRROR = np.array(MIRROR)
_OFFSETS = Skeleton.from_height().offsets.astype(np.float32)
_POSE_EVERY = 20
"""Frames between the poses that limbs take on."""


@dataclass
class Batch:
    """Windows of ``frames`` frames and what is true of them.

    Attributes:
        points: (B, T, 22, 3) m, as a pose estimator reports them.
        seen: (B, T, 22) bool.
        truth: (B, T, 22, 3) m.
        rotations: (B, T, 22, 4) xyzw, joint to world.
        bones: (B, 22) m.
    """

    points: F32
    seen: NDArray[np.bool_]
    truth: F32
    rotations: F32
    bones: F32


class WindowSampler:
    """Draws batches; reproducible from its seed."""

    def __init__(
        self,
        library: MotionLibrary,
        clips: list[LibraryClip],
        seed: int,
        *,
        noise: Noise = DESIGN_NOISE,
        failures: Failures = TRAINING_FAILURES,
        variation: Variation | None = STRONG,
    ) -> None:
        self._noise = noise
        self._failures = failures
        self._variation = variation
        self.rng = np.random.default_rng(seed)
        self._clips = ClipFrames(library, clips)
        weight = np.array(
            [(c.stop - c.start) * (3.0 if c.pack == "cmu_actions" else 1.0) for c in clips]
        )
        self._chance = weight / weight.sum()
        frames = torch.cat([torch.arange(c.start, c.stop, _POSE_EVERY) for c in clips])
        # of these clips alone: a pose of another split is not to be learned from either
        self._poses = self._clips.poses(frames if variation is not None else frames[:0])

    def draw(self, batch: int, frames: int) -> Batch:
        """A batch of windows of ``frames`` frames."""
        moving, path = self._motion(batch, frames)
        height = np.ones(batch, dtype=np.float32)
        stretch = np.ones((batch, len(JOINTS)), dtype=np.float32)
        if self._variation is not None:
            generator = torch.Generator().manual_seed(int(self.rng.integers(2**62)))
            moving, path = vary(moving, path, self._poses, self._variation, generator)
            height = (self.rng.uniform(1.45, 2.0, batch) / DEFAULT_HEIGHT_M).astype(np.float32)
            stretch = np.exp(0.06 * self.rng.standard_normal((batch, len(JOINTS)))).astype(
                np.float32
            )
            stretch = (stretch * stretch[:, _MIRROR]) ** 0.5  # both sides alike
        offsets = _OFFSETS * (stretch * height[:, None])[..., None]
        q = moving.numpy()
        root = path.numpy()
        truth = place(q, root * height[:, None, None], offsets)
        points = add_noise(truth, self._noise, self.rng)
        if self._variation is not None:
            faint = np.flatnonzero(self.rng.random(batch) < self._variation.faint)
            level = self.rng.uniform(0.1, 1.4, (len(faint), 1, 1, 1)).astype(np.float32)
            points[faint] = truth[faint] + level * (points[faint] - truth[faint])
        points, seen = add_failures(points, self._failures, self.rng)
        return Batch(points, seen, truth, q, np.linalg.norm(offsets, axis=-1))

    def _motion(self, batch: int, frames: int) -> tuple[Tensor, Tensor]:
        """Windows of the library (B, T, 22, 4) and (B, T, 3), some of them slower or faster."""
        clip = self.rng.choice(len(self._chance), batch, p=self._chance)
        length = self._clips.length.numpy()[clip]
        speed = np.ones(batch)
        if self._variation is not None:
            retimed = self.rng.random(batch) < self._variation.retimed
            speed[retimed] = np.exp(
                self._variation.pace * self.rng.uniform(-1, 1, int(retimed.sum()))
            )
        span = np.minimum(speed * (frames - 1), length - 2)
        begin = self.rng.uniform(0, length - 1 - span)
        if self._variation is None:
            begin = np.floor(begin)
        time = begin[:, None] + span[:, None] * np.linspace(0, 1, frames)
        moments = self._clips.at(torch.from_numpy(clip), torch.from_numpy(time))
        root = self._clips.root(moments)
        return self._clips.orientations(moments), root - root[:, :1] * torch.tensor([1.0, 1.0, 0.0])


def place(q_world_joint: F32, p_world_pelvis: F32, offsets: F32) -> F32:
    """Forward kinematics with a skeleton per window: (B, T, 22, 4), (B, T, 3), (B, 22, 3) to (B, T,
    22, 3).
    """
    matrices = rotations.to_matrix(q_world_joint).astype(np.float32)
    positions = np.empty((*q_world_joint.shape[:-1], 3), dtype=np.float32)
    positions[:, :, 0] = p_world_pelvis
    for joint in range(1, len(JOINTS)):
        parent = PARENTS[joint]
        positions[:, :, joint] = (
            positions[:, :, parent]
            + (matrices[:, :, parent] @ offsets[:, None, joint, :, None])[..., 0]
        )
    return positions
