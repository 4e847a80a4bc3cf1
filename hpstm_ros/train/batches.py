"""Training windows for HPSTM: motion from the library, varied (side, speed, size, limbs, arms, heading), then spoiled by `noise`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.train.noise import DESIGN_NOISE, TRAINING_FAILURES, Failures, Noise, add_failures, add_noise
from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX, JOINTS, MIRROR, PARENTS
from pallas_ros.body.skeleton import DEFAULT_HEIGHT_M, Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary

F32 = NDArray[np.float32]

_MIRROR = np.array(MIRROR)
_OFFSETS = Skeleton.from_height().offsets.astype(np.float32)
_SPINE3, _PELVIS = JOINT_INDEX["spine3"], JOINT_INDEX["pelvis"]


def _joints(*names: str) -> NDArray[np.intp]:
    return np.array([JOINT_INDEX[name] for name in names])


_ARMS = {side: _joints(*(f"{side}_{part}" for part in ("collar", "shoulder", "elbow", "wrist"))) for side in ("left", "right")}
_LEGS = _joints(*(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "foot")))
_HEAD = _joints("neck", "head")


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
        vary: bool = True,
    ) -> None:
        self._library, self._noise, self._failures, self._vary = library, noise, failures, vary
        self.rng = np.random.default_rng(seed)
        self._start = np.array([c.start for c in clips])
        self._length = np.array([c.stop - c.start for c in clips])
        weight = np.array([(c.stop - c.start) * (3.0 if c.pack == "cmu_actions" else 1.0) for c in clips])
        self._chance = weight / weight.sum()

    def draw(self, batch: int, frames: int) -> Batch:
        """A batch of windows of ``frames`` frames."""
        q, root = self._motion(batch, frames)
        height = np.ones(batch, dtype=np.float32)
        stretch = np.ones((batch, len(JOINTS)), dtype=np.float32)
        if self._vary:
            q, root = self._mirror(q, root)
            q = self._recombine(q)
            q = self._swing_arms(q, frames)
            q, root = self._turn(q, root)
            height = (self.rng.uniform(1.45, 2.0, batch) / DEFAULT_HEIGHT_M).astype(np.float32)
            stretch = np.exp(0.06 * self.rng.standard_normal((batch, len(JOINTS)))).astype(np.float32)
            stretch = (stretch * stretch[:, _MIRROR]) ** 0.5  # both sides alike
        offsets = _OFFSETS * (stretch * height[:, None])[..., None]
        truth = place(q, root * height[:, None, None], offsets)
        points = add_noise(truth, self._noise, self.rng)
        if self._vary:
            faint = np.flatnonzero(self.rng.random(batch) < 0.2)
            level = self.rng.uniform(0.1, 1.4, (len(faint), 1, 1, 1)).astype(np.float32)
            points[faint] = truth[faint] + level * (points[faint] - truth[faint])
        points, seen = add_failures(points, self._failures, self.rng)
        return Batch(points, seen, truth, q, np.linalg.norm(offsets, axis=-1))

    def _motion(self, batch: int, frames: int) -> tuple[F32, F32]:
        """Windows of the library (B, T, 22, 4) and (B, T, 3), some of them slower or faster."""
        clip = self.rng.choice(len(self._start), batch, p=self._chance)
        speed = np.where(self.rng.random(batch) < 0.5, np.exp(self.rng.uniform(-0.6, 0.5, batch)), 1.0) if self._vary else np.ones(batch)
        span = np.minimum(speed * (frames - 1), self._length[clip] - 2)
        begin = self.rng.uniform(0, self._length[clip] - 1 - span)
        if not self._vary:
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

    def _mirror(self, q: F32, root: F32) -> tuple[F32, F32]:
        which = np.flatnonzero(self.rng.random(len(q)) < 0.5)
        q[which] = q[which][:, :, _MIRROR] * np.array([-1, 1, -1, 1], dtype=np.float32)
        root[which] *= np.array([1, -1, 1], dtype=np.float32)
        return q, root

    def _recombine(self, q: F32) -> F32:
        """Limbs of another window of the batch, hung on this one's trunk."""
        source = q.copy()
        for limb, base, chance in (
            (_ARMS["left"], _SPINE3, 0.25),
            (_ARMS["right"], _SPINE3, 0.25),
            (_LEGS, _PELVIS, 0.25),
            (_HEAD, _SPINE3, 0.15),
        ):
            which = np.flatnonzero(self.rng.random(len(q)) < chance)
            other = self.rng.integers(0, len(q), len(which))
            carry = rotations.multiply(q[which, :, base], rotations.inverse(source[other, :, base]))
            q[which[:, None], :, limb[None]] = np.moveaxis(rotations.multiply(carry[:, :, None], source[other][:, :, limb]), 2, 1)
        return q

    def _swing_arms(self, q: F32, frames: int) -> F32:
        """Smooth random turns of the shoulder, and of the elbow on top of them, so that arms go where no clip takes them."""
        for side in ("left", "right"):
            which = np.flatnonzero(self.rng.random(len(q)) < 0.2)
            for limb in (_ARMS[side][1:], _ARMS[side][2:]):
                turn = self._smooth_rotation(len(which), frames)
                q[which[:, None], :, limb[None]] = np.moveaxis(rotations.multiply(turn[:, :, None], q[which][:, :, limb]), 2, 1)
        return q

    def _smooth_rotation(self, count: int, frames: int) -> F32:
        """(count, T, 4): a constant turn plus a slow sine about other axes."""
        time = np.arange(frames) / 60.0
        frequency, phase = self.rng.uniform(0.1, 1.2, (2, count, 1, 3)), self.rng.uniform(0, 2 * np.pi, (2, count, 1, 3))
        rotvec = 0.5 * self.rng.standard_normal((count, 1, 3)) + sum(
            0.35 * self.rng.standard_normal((count, 1, 3)) * np.sin(2 * np.pi * frequency[i] * time[None, :, None] + phase[i])
            for i in range(2)
        )
        return rotations.from_rotvec(rotvec).astype(np.float32)

    def _turn(self, q: F32, root: F32) -> tuple[F32, F32]:
        turn = rotations.about_z(self.rng.uniform(-np.pi, np.pi, len(q))).astype(np.float32)[:, None]
        return rotations.multiply(turn[:, :, None], q).astype(np.float32), rotations.rotate(
            np.broadcast_to(turn, (*root.shape[:2], 4)), root
        )


def place(q_world_joint: F32, p_world_pelvis: F32, offsets: F32) -> F32:
    """Forward kinematics with a skeleton per window: (B, T, 22, 4), (B, T, 3), (B, 22, 3) to (B, T, 22, 3)."""
    matrices = rotations.to_matrix(q_world_joint).astype(np.float32)
    positions = np.empty((*q_world_joint.shape[:-1], 3), dtype=np.float32)
    positions[:, :, 0] = p_world_pelvis
    for joint in range(1, len(JOINTS)):
        parent = PARENTS[joint]
        positions[:, :, joint] = positions[:, :, parent] + (matrices[:, :, parent] @ offsets[:, None, joint, :, None])[..., 0]
    return positions
