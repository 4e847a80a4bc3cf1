"""Poses with texts, with equal numbers of eight clusters, so that standing does not dominate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from hpstm_ros.generation.poses import encode_pose
from hpstm_ros.language.descriptions import Descriptions, actions, first_action, phrasings
from hpstm_ros.language.features import mirror
from pallas_ros.body import rotations
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.names import MIRROR, MODEL_RATE_HZ
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

CLUSTERS = 8
SIZES = (1_300, 18_000)
"""Minimum and maximum number of poses of a data set, as in the source."""
_EVERY_S = 0.7
_PER_CLIP = 30
_FARTHEST = 3.0
"""Standard deviations; poses farther from the centre of their cluster are excluded."""
_GESTURES = ("raise", "wave", "bow", "bye", "punch", "kick", "slash", "call", "guide", "respond")
"""Contents whose clips begin and end with standing: only their middle third is used."""


@dataclass(frozen=True)
class PoseSet:
    """Poses and their descriptions.

    Attributes:
        rows: (N, 24, 6) as returned by `hpstm_ros.generation.poses.encode_pose`.
        positions: (N, 22, 3) m, root-centred, facing +x.
        cluster: (N,) 0 to 7.
        texts: all texts.
        of: ids of the texts of each pose.
        centres: (8, 66) m, of the clusters.
        share: (8,) share of each cluster among all poses.
    """

    rows: F32
    positions: F64
    cluster: NDArray[np.int64]
    texts: list[str]
    of: list[tuple[int, ...]]
    centres: F64
    share: F64


def collect(
    library: MotionLibrary,
    clips: Sequence[LibraryClip],
    descriptions: Descriptions,
    size: int,
    balanced: bool = True,
    seed: int = 0,
) -> PoseSet:
    """Collect poses of described clips and their mirror images.

    Args:
        library, clips: the motion.
        descriptions: of the clips; of a compound one, the first action is used.
        size: number of poses, half of them mirrored.
        balanced: True for equal numbers of each cluster; False for the distribution of the data.
        seed: of the random selection.
    """
    rng = np.random.default_rng(seed)
    q_parts: list[F64] = []
    heights: list[F64] = []
    of: list[tuple[str, ...]] = []
    for clip in clips:
        found = descriptions.of(clip)
        if not found:
            continue
        frames = _frames(clip, any(len(actions(one.text)) > 1 for one in found))
        q = library.rotations[frames].astype(np.float64) / 32767
        q_parts.append(np.asarray(rotations.normalise(q)))
        heights.append(np.asarray(library.root[frames, 2], np.float64))
        words = tuple(dict.fromkeys(t for one in found for t in _texts(one.text)))
        of += [words] * len(frames)
    q = _facing_x(np.concatenate(q_parts))
    height = np.concatenate(heights)
    placed = forward_kinematics(Skeleton.from_height(), q, np.zeros((len(q), 3)))
    positions = np.asarray(placed, dtype=np.float64)
    centres, cluster, near = _clusters(positions, seed)
    share = np.bincount(cluster, minlength=CLUSTERS) / len(cluster)
    good = np.flatnonzero(near & (height > 0.05) & (height < 1.6))
    chosen = _choose(rng, good, cluster, size // 2, balanced)
    flipped = _mirrored(q[chosen])
    known: dict[str, int] = {}

    def ids(texts: Sequence[str]) -> tuple[int, ...]:
        return tuple(known.setdefault(text, len(known)) for text in texts)

    straight = [ids(of[i]) for i in chosen]
    turned = [ids([mirror(text) for text in of[i]]) for i in chosen]
    both = np.concatenate((q[chosen], flipped))
    placed = forward_kinematics(Skeleton.from_height(), both, np.zeros((len(both), 3)))
    p = np.asarray(placed, dtype=np.float64)
    return PoseSet(
        encode_pose(both, np.tile(height[chosen], 2)),
        p,
        nearest(p, centres),
        list(known),
        straight + turned,
        centres,
        share,
    )


def nearest(positions: F64, centres: F64) -> NDArray[np.int64]:
    """Nearest cluster (N,) of root-centred positions (N, 22, 3) m."""
    x = positions.reshape(len(positions), -1)
    away = ((x[:, None] - centres[None]) ** 2).sum(-1)
    return np.asarray(away.argmin(1), np.int64)


def _frames(clip: LibraryClip, compound: bool) -> NDArray[np.int64]:
    """Frames of a clip that show the first action of its text."""
    start = clip.start
    stop = clip.stop
    length = stop - start
    if clip.content.startswith(_GESTURES):
        start += length // 3
        stop -= length // 3
    elif compound:
        stop = start + max(length // 2, 2)
    every = max(round(_EVERY_S * MODEL_RATE_HZ), (stop - start) // _PER_CLIP)
    return np.arange(start + min(every // 2, (stop - start) // 2), stop, every)


def _texts(text: str) -> tuple[str, ...]:
    """The first action, plain and as a sentence."""
    forms = phrasings(first_action(text))
    return tuple(dict.fromkeys((forms[0], forms[min(2, len(forms) - 1)])))


def _facing_x(q: F64) -> F64:
    turn = rotations.about_z(-np.asarray(rotations.heading(q[:, 0])))
    return np.asarray(rotations.multiply(np.broadcast_to(turn[:, None], q.shape), q), np.float64)


def _mirrored(q: F64) -> F64:
    flip = np.array([1.0, -1.0, 1.0])
    matrices = rotations.to_matrix(q)[:, list(MIRROR)] * (flip[:, None] * flip)
    return np.asarray(rotations.from_matrix(matrices), np.float64)


def _clusters(positions: F64, seed: int) -> tuple[F64, NDArray[np.int64], NDArray[np.bool_]]:
    """Centres of the clusters; cluster of each pose, and whether it is not an outlier."""
    x = positions.reshape(len(positions), -1)
    sample = x[np.random.default_rng(seed).permutation(len(x))[:8000]]
    centres, _ = kmeans2(sample, CLUSTERS, minit="++", iter=20, seed=seed)
    cluster = nearest(positions, centres)
    away = np.linalg.norm(x - centres[cluster], axis=1)
    near = np.zeros(len(x), np.bool_)
    for k in range(CLUSTERS):
        of = cluster == k
        if of.any():
            near[of] = away[of] <= away[of].mean() + _FARTHEST * away[of].std()
    return np.asarray(centres, np.float64), cluster, near


def _choose(
    rng: np.random.Generator,
    good: NDArray[np.int64],
    cluster: NDArray[np.int64],
    size: int,
    balanced: bool,
) -> NDArray[np.int64]:
    """Select poses: all of rare clusters, equal numbers of the others."""
    if not balanced:
        return rng.permutation(good)[:size]
    of = [rng.permutation(good[cluster[good] == k]) for k in range(CLUSTERS)]
    left = size
    chosen = []
    for waiting, members in zip(range(CLUSTERS, 0, -1), sorted(of, key=len)):
        take = min(len(members), left // waiting)
        chosen.append(members[:take])
        left -= take
    return np.concatenate(chosen)
