"""Quality of generated motion: retrieval by text, distance to real motion, diversity.

Embeddings are those of the alignment model. It is trained on the same clips and sentence vectors as
the generators, so it favours typical motion of a sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import sqrtm

F64 = NDArray[np.float64]
GROUP = 32
"""Number of texts in a pool, as usual for R-precision."""
TOP = 3


@dataclass(frozen=True)
class Judged:
    """Embeddings of motions and of their requests.

    Attributes:
        motions, texts: (N, dim), one pair per row.
        keys: (N,) meanings of the texts; texts with equal meaning count as hits.
    """

    motions: F64
    texts: F64
    keys: tuple[str, ...]


def r_precision(judged: Judged, rng: np.random.Generator, top: int = TOP) -> F64:
    """(N,) whether a motion's own text is among the ``top`` nearest of 32 (or all, if fewer)."""
    count = len(judged.keys)
    group = min(GROUP, count)
    similarity = judged.motions @ judged.texts.T
    hits = np.empty(count)
    for row in range(count):
        others = np.array([key != judged.keys[row] for key in judged.keys])
        picked = rng.permutation(np.flatnonzero(others))[: group - 1]
        better = (similarity[row, picked] > similarity[row, row]).sum()
        hits[row] = better < top
    return hits


def frechet(a: F64, b: F64) -> float:
    """The Fréchet distance of Gaussians fitted to two sets of embeddings (N, dim), (M, dim)."""
    mean = a.mean(0) - b.mean(0)
    first, second = (np.cov(x, rowvar=False) + 1e-6 * np.eye(x.shape[1]) for x in (a, b))
    root = np.real(sqrtm(first @ second))
    return float(mean @ mean + np.trace(first + second - 2 * root))


def diversity(x: F64, rng: np.random.Generator, pairs: int = 300) -> float:
    """Mean distance of randomly paired embeddings (N, dim)."""
    i, j = rng.integers(0, len(x), (2, pairs))
    return float(np.linalg.norm(x[i] - x[j], axis=1)[i != j].mean())


def stacked(parts: Sequence[NDArray[np.floating]]) -> F64:
    """Stack N embeddings (dim,) to (N, dim)."""
    return np.stack([np.asarray(part, dtype=np.float64) for part in parts])
