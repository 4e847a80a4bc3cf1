"""Ranks moments over any number of indices, with one in memory at a time."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.language.alignment.aligner import Aligner
from hpstm_ros.language.search.index import Index

_OVERLAP = 0.34
"""Windows that overlap by more than this share of the shorter one are the same moment."""


@dataclass(frozen=True)
class Hit:
    """A moment that was found.

    Attributes:
        path: of the recording.
        start_s, end_s: s from its beginning.
        score: 0 to 100.
    """

    path: str
    start_s: float
    end_s: float
    score: float

    def document(self) -> dict[str, object]:
        """The hit as a JSON-compatible dictionary."""
        return {
            "path": self.path,
            "start_s": round(self.start_s, 2),
            "end_s": round(self.end_s, 2),
            "score": round(self.score, 1),
        }


class Ranking:
    """The best moments of the indices given so far.

    Args:
        aligner: converts similarities to scores.
        query: (D,) embedding of a text, or of a motion.
        count: number of moments to keep.
        by_example: whether the query is a motion; the score is then 100 times the cosine.
    """

    def __init__(
        self,
        aligner: Aligner,
        query: NDArray[np.float32],
        count: int = 10,
        by_example: bool = False,
    ) -> None:
        self._aligner = aligner
        self._query = query
        self._count = count
        self._by_example = by_example
        self._best: list[tuple[float, int, Hit]] = []
        self._added = 0

    def add(self, index: Index) -> None:
        """Add the windows of a recording."""
        similarity = index.vectors.astype(np.float32) @ self._query
        found = moments(index, similarity, self._count)
        values = similarity[found]
        scores = 100 * np.clip(values, 0, 1) if self._by_example else self._aligner.percent(values)
        for at, value, score in zip(found, values, scores):
            hit = Hit(
                str(index.path), float(index.start_s[at]), float(index.end_s[at]), float(score)
            )
            self._added += 1  # breaks ties, so that the heap never compares hits
            entry = (float(value), -self._added, hit)
            if len(self._best) < self._count:
                heapq.heappush(self._best, entry)
            else:
                heapq.heappushpop(self._best, entry)

    @property
    def hits(self) -> list[Hit]:
        """The best moments, best first."""
        return [hit for *_, hit in sorted(self._best, reverse=True)]


def search(
    aligner: Aligner,
    query: NDArray[np.float32],
    indices: Iterable[Index],
    count: int = 10,
    by_example: bool = False,
) -> list[Hit]:
    """The best moments of some indices, best first; see `Ranking`.

    Args:
        aligner: network and calibration.
        query: (dim,) embedding of a text or of an example.
        indices: of recordings.
        count: of moments.
        by_example: whether the query is a motion, so that scores are cosines.
    """
    ranking = Ranking(aligner, query, count, by_example)
    for index in indices:
        ranking.add(index)
    return ranking.hits


def moments(index: Index, similarity: NDArray[np.floating], count: int) -> list[int]:
    """Indices of the windows with the highest ``similarity`` (n,), best first, without those that
    overlap a better one.
    """
    kept: list[int] = []
    for at in np.argsort(-similarity, kind="stable"):
        start = index.start_s[at]
        end = index.end_s[at]
        for other in kept:
            shared = min(end, index.end_s[other]) - max(start, index.start_s[other])
            shorter = min(end - start, index.end_s[other] - index.start_s[other])
            if shared > _OVERLAP * shorter:
                break
        else:
            kept.append(int(at))
            if len(kept) == count:
                break
    return kept
