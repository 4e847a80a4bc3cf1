"""What pose estimators do wrong, as numbers: the noise model of docs/guide/conventions.md and the
failures on top of it.

Training, the evaluation and the tests all spoil their motions here and nowhere else. Everything
works on batches (B, T, 22, 3) of joint positions in metres at 60 Hz and draws from a
`numpy.random.Generator` only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from pallas_ros.body.names import MIRROR, PARENTS

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_MIRROR = np.array(MIRROR)


@dataclass(frozen=True)
class Noise:
    """The noise model of docs/guide/conventions.md, after HPSTM's own (its data set class:
    Gaussian, filtered, outliers, bone lengths).

    Attributes:
        gaussian: m, standard deviation of each coordinate in each frame.
        filtered: m, standard deviation before a running mean over ``filter_window`` frames.
        filter_window: frames.
        outlier_share: share of joints, frame by frame, that lie ``outlier`` m off in any direction.
        outlier: m.
        bone: every bone's length is off by a factor within 1 +- ``bone``, drawn again in every
            frame.
    """

    gaussian: float = 0.010
    filtered: float = 0.015
    filter_window: int = 7
    outlier_share: float = 0.005
    outlier: float = 0.250
    bone: float = 0.03


DESIGN_NOISE = Noise()


def add_noise(positions: F32, noise: Noise, rng: np.random.Generator) -> F32:
    """Positions (B, T, 22, 3) m as a pose estimator with this noise would report them."""
    out = _bone_noise(positions, noise.bone, rng)
    shape = positions.shape
    out += noise.gaussian * rng.standard_normal(shape, dtype=np.float32)
    half = noise.filter_window // 2
    longer = rng.standard_normal((shape[0], shape[1] + 2 * half, *shape[2:]), dtype=np.float32)
    smooth = uniform_filter1d(longer, noise.filter_window, axis=1, mode="nearest")
    out += noise.filtered * smooth[:, half : half + shape[1]]
    off = rng.random(shape[:3], dtype=np.float32) < noise.outlier_share
    out[off] += noise.outlier * _directions(int(off.sum()), rng)
    return out


def _bone_noise(positions: F32, share: float, rng: np.random.Generator) -> F32:
    """Every bone stretched by a factor within 1 +- share; what hangs on it moves along."""
    out = positions.copy()
    factor = (share * rng.uniform(-1, 1, positions.shape[:3])).astype(np.float32)
    shift = np.zeros_like(positions)
    for joint in range(1, positions.shape[2]):
        parent = PARENTS[joint]
        bone = positions[:, :, joint] - positions[:, :, parent]
        shift[:, :, joint] = shift[:, :, parent] + factor[:, :, joint, None] * bone
    out += shift
    return out


def _directions(count: int, rng: np.random.Generator) -> F32:
    """Unit vectors (count, 3), evenly spread."""
    v = rng.standard_normal((count, 3), dtype=np.float32)
    return np.asarray(
        v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9), dtype=np.float32
    )


@dataclass(frozen=True)
class Failures:
    """The classical failures, each the chance that a stretch of 32 frames meets it (whole bodies
    and sides) or a joint does.

    Attributes:
        occlusion: a limb or a single joint is not seen for a while: per window.
        blackout: no joint is seen for up to ``blackout_frames``.
        still: share of occlusions and blackouts that last to the newest frame. A stream meets every
            length of those; a stretch laid at random, hardly ever a short one.
        dropped: share of frames lost at random in a window that meets ``dropping``.
        flip: left and right are exchanged for 1 to 4 frames.
        teleport: the whole body is elsewhere for 1 to 3 frames (another person, a false detection).
        stuck_outlier: one joint sits 0.1 to 0.4 m off for 2 to 6 frames.
        half_rate: every second frame is missing, as from a 30 Hz camera.
        late_start: the body was first seen in this window.
        format_gap: joints that a pose estimator's format does not have are missing throughout.
    """

    occlusion: float = 0.0
    blackout: float = 0.0
    blackout_frames: int = 30
    still: float = 0.4
    dropping: float = 0.0
    dropped: float = 0.3
    flip: float = 0.0
    teleport: float = 0.0
    stuck_outlier: float = 0.0
    half_rate: float = 0.0
    late_start: float = 0.0
    format_gap: float = 0.0


NO_FAILURES = Failures()
TRAINING_FAILURES = Failures(
    occlusion=0.20,
    blackout=0.05,
    dropping=0.08,
    flip=0.06,
    teleport=0.04,
    stuck_outlier=0.12,
    half_rate=0.06,
    late_start=0.05,
    format_gap=0.10,
)

_LIMBS: tuple[tuple[int, ...], ...] = (
    (1, 4, 7, 10),
    (2, 5, 8, 11),
    (18, 20),
    (19, 21),
    (16, 18, 20),
    (17, 19, 21),
    (1, 2, 4, 5, 7, 8, 10, 11),
    (12, 15),
)
_FORMAT_GAPS: tuple[tuple[int, ...], ...] = (
    (3, 6, 9, 12, 13, 14),  # COCO, MediaPipe: no trunk chain, no collars
    (3, 6, 9, 10, 11, 12, 13, 14, 15),
    (3, 9, 13, 14),  # H36M, BODY_25
    (10, 11),
    (6, 13, 14),
)


def add_failures(positions: F32, failures: Failures, rng: np.random.Generator) -> tuple[F32, Bool]:
    """Spoil noisy positions (B, T, 22, 3) m further; returns them (changed in place) and what is
    seen (B, T, 22).
    """
    batch, frames = positions.shape[:2]
    seen = np.ones(positions.shape[:3], dtype=bool)

    def hit(chance: float) -> NDArray[np.intp]:
        return np.flatnonzero(rng.random(batch) < chance)

    def span(longest: int, still: float = 0.0) -> slice:
        length = int(rng.integers(1, min(longest, frames) + 1))
        first = (
            frames - length if rng.random() < still else int(rng.integers(0, frames - length + 1))
        )
        return slice(first, first + length)

    for b in hit(failures.flip):
        when = span(4)
        positions[b, when] = positions[b, when][:, _MIRROR]
    for b in hit(failures.teleport):
        when = span(3)
        positions[b, when] += (_directions(1, rng) * rng.uniform(0.4, 3.0)).astype(np.float32)
    for b in hit(failures.stuck_outlier):
        when = span(6)
        joint = int(rng.integers(positions.shape[2]))
        positions[b, when, joint] += (_directions(1, rng)[0] * rng.uniform(0.1, 0.4)).astype(
            np.float32
        )
    for b in hit(failures.format_gap):
        seen[b][:, list(_FORMAT_GAPS[rng.integers(len(_FORMAT_GAPS))])] = False
    for b in hit(failures.occlusion):
        limb = (
            _LIMBS[rng.integers(len(_LIMBS))]
            if rng.random() < 0.6
            else (int(rng.integers(positions.shape[2])),)
        )
        seen[b, span(frames, failures.still)][:, list(limb)] = False
    for b in hit(failures.half_rate):
        seen[b, int(rng.integers(2)) :: 2] = False
    for b in hit(failures.dropping):
        seen[b, rng.random(frames) < failures.dropped] = False
    for b in hit(failures.blackout):
        seen[b, span(min(failures.blackout_frames, frames - 6), failures.still)] = False
    for b in hit(failures.late_start):
        seen[b, : int(rng.integers(1, frames))] = False
    return positions, seen
