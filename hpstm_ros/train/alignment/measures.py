"""Metrics of the alignment model: retrieval in pools, sides, corrupted scenes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hpstm_ros.language.alignment.movement import mirrored, padded, windows
from hpstm_ros.model.alignment import Alignment
from hpstm_ros.train.alignment.corpus import Clip, Corpus

F32 = NDArray[np.float32]

POOL = 32
SAME_MEANING = 0.9
"""Cosine similarity above which texts count as equal in meaning: 0.95 in TMR, on a scale of 0
to 1.
"""


def text_vectors(model: Alignment, corpus: Corpus) -> F32:
    """Embeddings (N, dim) of all texts."""
    with torch.no_grad():
        hidden = model.hidden_text(
            torch.from_numpy(corpus.vectors), torch.from_numpy(corpus.explicit)
        )
        return np.asarray(model.embed("text", hidden).numpy(), np.float32)


def clip_vectors(
    model: Alignment, corpus: Corpus, clips: Sequence[Clip], flip: bool = False
) -> F32:
    """Embeddings (C, dim) of whole clips: means over their windows; ``flip`` for the mirrored
    motion.
    """
    parts = []
    owner = []
    for index, clip in enumerate(clips):
        features = corpus.features[clip.start : clip.stop].astype(np.float32)
        features = mirrored(features) if flip else features
        for start, stop in windows(len(features), step=20):
            parts.append(padded(features, start, stop))
            owner.append(index)
    vectors = []
    with torch.no_grad():
        for first in range(0, len(parts), 64):
            chunk = parts[first : first + 64]
            movement, there = (torch.from_numpy(np.stack(column)) for column in zip(*chunk))
            vectors.append(model.embed("motion", model.motion(movement, there)).numpy())
    flat = np.concatenate(vectors)
    out = np.zeros((len(clips), flat.shape[1]), np.float32)
    np.add.at(out, owner, flat)
    length = np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
    return np.asarray(out / length, np.float32)


@dataclass(frozen=True)
class Retrieval:
    """Text to motion in pools of 32, by query.

    Attributes:
        clip: index of the query's clip.
        first, third: share of pools with a clip of the same meaning at rank 1, and at ranks 1 to 3.
        chance: ``first`` for a random order.
    """

    clip: NDArray[np.int64]
    first: NDArray[np.float64]
    third: NDArray[np.float64]
    chance: NDArray[np.float64]


def retrieval(
    corpus: Corpus,
    clips: Sequence[Clip],
    texts: F32,
    motions: F32,
    seed: int,
    pools: int,
    written: Callable[[Clip], Sequence[int]] | None = None,
) -> Retrieval:
    """Rank original descriptions in pools of their clip and 31 others of the split."""
    rng = np.random.default_rng(seed)
    queries = [
        (i, text)
        for i, clip in enumerate(clips)
        for text in (written(clip) if written else clip.texts[: clip.written])
    ]
    alike = _same_meaning(corpus, clips, [text for _, text in queries])
    scores = texts[[text for _, text in queries]] @ motions.T
    first, third, chance = (np.zeros(len(queries)) for _ in range(3))
    others = np.arange(len(clips))
    for row, (own, _) in enumerate(queries):
        candidates = np.delete(others, own)
        for _ in range(pools):
            pool = np.append(rng.choice(candidates, POOL - 1, replace=False), own)
            order = pool[np.argsort(-scores[row, pool], kind="stable")]
            hits = alike[row, order]
            first[row] += hits[0] / pools
            third[row] += hits[:3].any() / pools
            chance[row] += hits.mean() / pools
    return Retrieval(np.array([i for i, _ in queries]), first, third, chance)


def _same_meaning(corpus: Corpus, clips: Sequence[Clip], texts: Sequence[int]) -> NDArray[np.bool_]:
    """(queries, clips): whether a description of the clip has the meaning of the query."""
    ids = np.asarray(texts)
    out = np.zeros((len(ids), len(clips)), np.bool_)
    for column, clip in enumerate(clips):
        own = np.asarray(clip.texts[: clip.written])
        same = corpus.meanings[ids][:, None] == corpus.meanings[own][None]
        agree = (corpus.explicit[ids][:, None] == corpus.explicit[own][None]).all(-1)
        alike = corpus.vectors[ids] @ corpus.vectors[own].T > SAME_MEANING
        out[:, column] = (same | (alike & agree)).any(1)
    return out


@dataclass(frozen=True)
class Choices:
    """Binary choices: clip of each, and whether the choice is correct."""

    clip: NDArray[np.int64]
    right: NDArray[np.float64]


def sides(
    corpus: Corpus, clips: Sequence[Clip], texts: F32, straight: F32, flipped: F32
) -> Choices:
    """For descriptions with a side: whether a motion is closer to its own text than to the mirrored
    one, for the motion and for its mirror image.
    """
    clip_of = []
    right = []
    for i, clip in enumerate(clips):
        for own, other in zip(clip.texts[: clip.written], clip.mirrored):
            if corpus.meanings[own] == corpus.meanings[other]:
                continue
            clip_of += [i, i]
            right.append(texts[own] @ straight[i] > texts[other] @ straight[i])
            right.append(texts[other] @ flipped[i] > texts[own] @ flipped[i])
    return Choices(np.array(clip_of, np.int64), np.array(right, np.float64))


def interval(
    values: NDArray[np.float64], owner: NDArray[np.int64], draws: int = 500
) -> tuple[float, float, float]:
    """Mean of values (n,) in per cent, with a 95 % interval from a bootstrap over clips.

    Args:
        values: (n,).
        owner: (n,) clip of each value.
        draws: number of resamplings.
    """
    rng = np.random.default_rng(0)
    number, group = np.unique(owner, return_inverse=True)
    sums = np.bincount(group, values)
    counts = np.bincount(group)
    means = []
    for _ in range(draws):
        chosen = rng.integers(len(number), size=len(number))
        means.append(sums[chosen].sum() / counts[chosen].sum())
    low, high = np.quantile(means, (0.025, 0.975))
    return 100 * float(values.mean()), 100 * float(low), 100 * float(high)
