"""Errors of pose estimators: the noise model of docs/guide/conventions.md, and failures in
addition.

Training, evaluation and tests all use this module. It processes batches (B, T, 22, 3) of joint
positions in m at 60 Hz, and takes random numbers only from a `numpy.random.Generator`.
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
    """The noise model of docs/guide/conventions.md, after that of HPSTM (its data set class:
    Gaussian, filtered, outliers, bone lengths).

    Attributes:
        gaussian: m, standard deviation of each coordinate in each frame.
        filtered: m, standard deviation before a running mean over ``filter_window`` frames.
        filter_window: frames.
        outlier_share: share of joints per frame that are displaced by ``outlier`` in a random
            direction.
        outlier: m.
        bone: every bone length has a random factor within 1 +- ``bone`` in every frame.
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
    """Scale every bone by a random factor within 1 +- share, moving all distal joints."""
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
    """Random unit vectors (count, 3), uniformly distributed."""
    v = rng.standard_normal((count, 3), dtype=np.float32)
    return np.asarray(
        v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9), dtype=np.float32
    )


@dataclass(frozen=True)
class Failures:
    """Typical failures: the probability of each in a window of 32 frames (whole bodies and sides),
    or per joint.

    Attributes:
        occlusion: a limb or a single joint is temporarily not seen, per window.
        blackout: no joint is seen for up to ``blackout_frames``.
        still: share of occlusions and blackouts that last until the newest frame. Streams contain
            all lengths of these, random windows hardly any short ones.
        dropped: share of frames lost at random in a window with ``dropping``.
        flip: left and right are exchanged for 1 to 4 frames.
        teleport: the whole body is elsewhere for 1 to 3 frames (another person, a false detection).
        stuck_outlier: one joint is displaced by 0.1 to 0.4 m for 2 to 6 frames.
        half_rate: every second frame is missing, as from a 30 Hz camera.
        late_start: the body is first seen in this window.
        format_gap: joints that the format of a pose estimator lacks are always missing.
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
    """Add failures to noisy positions (B, T, 22, 3) m, in place; return them, and the mask of seen
    joints (B, T, 22).
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
