"""Training windows for HPSTM: motion from the library, made into other motion of other bodies
(`variation`), then spoiled by `noise`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        self._library = library
        self._noise = noise
        self._failures = failures
        self._variation = variation
        self.rng = np.random.default_rng(seed)
        self._start = np.array([c.start for c in clips])
        self._length = np.array([c.stop - c.start for c in clips])
        weight = np.array(
            [(c.stop - c.start) * (3.0 if c.pack == "cmu_actions" else 1.0) for c in clips]
        )
        self._chance = weight / weight.sum()
        frames = np.concatenate([np.arange(c.start, c.stop, _POSE_EVERY) for c in clips])
        # of these clips alone: a pose of another split is not to be learned from either
        self._poses = (
            np.asarray(library.rotations[frames])
            if variation is not None
            else np.empty((0, len(JOINTS), 4), dtype=np.int16)
        )

    def draw(self, batch: int, frames: int) -> Batch:
        """A batch of windows of ``frames`` frames."""
        q, root = self._motion(batch, frames)
        height = np.ones(batch, dtype=np.float32)
        stretch = np.ones((batch, len(JOINTS)), dtype=np.float32)
        if self._variation is not None:
            q, root = vary(q, root, self._poses, self._variation, self.rng)
            height = (self.rng.uniform(1.45, 2.0, batch) / DEFAULT_HEIGHT_M).astype(np.float32)
            stretch = np.exp(0.06 * self.rng.standard_normal((batch, len(JOINTS)))).astype(
                np.float32
            )
            stretch = (stretch * stretch[:, _MIRROR]) ** 0.5  # both sides alike
        offsets = _OFFSETS * (stretch * height[:, None])[..., None]
        truth = place(q, root * height[:, None, None], offsets)
        points = add_noise(truth, self._noise, self.rng)
        if self._variation is not None:
            faint = np.flatnonzero(self.rng.random(batch) < self._variation.faint)
            level = self.rng.uniform(0.1, 1.4, (len(faint), 1, 1, 1)).astype(np.float32)
            points[faint] = truth[faint] + level * (points[faint] - truth[faint])
        points, seen = add_failures(points, self._failures, self.rng)
        return Batch(points, seen, truth, q, np.linalg.norm(offsets, axis=-1))

    def _motion(self, batch: int, frames: int) -> tuple[F32, F32]:
        """Windows of the library (B, T, 22, 4) and (B, T, 3), some of them slower or faster."""
        clip = self.rng.choice(len(self._start), batch, p=self._chance)
        speed = np.ones(batch)
        if self._variation is not None:
            retimed = self.rng.random(batch) < self._variation.retimed
            speed[retimed] = np.exp(
                self._variation.pace * self.rng.uniform(-1, 1, int(retimed.sum()))
            )
        span = np.minimum(speed * (frames - 1), self._length[clip] - 2)
        begin = self.rng.uniform(0, self._length[clip] - 1 - span)
        if self._variation is None:
            begin = np.floor(begin)
        time = begin[:, None] + span[:, None] * np.linspace(0, 1, frames)
        low = np.minimum(time.astype(np.int64), self._length[clip][:, None] - 2)
        share = (time - low)[..., None].astype(np.float32)
        index = self._start[clip][:, None] + low
        a = self._library.rotations[index].astype(np.float32)
        b = self._library.rotations[index + 1].astype(np.float32)
        b *= np.where(np.sum(a * b, axis=-1, keepdims=True) < 0, np.float32(-1), np.float32(1))
        q = a + share[..., None] * (b - a)
        q /= np.linalg.norm(q, axis=-1, keepdims=True)
        root = self._library.root[index] * (1 - share) + self._library.root[index + 1] * share
        return q, root - root[:, :1] * np.array([1, 1, 0], dtype=np.float32)


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
