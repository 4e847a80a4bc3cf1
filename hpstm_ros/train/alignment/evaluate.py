"""`pallas eval alignment`: retrieval, sides and scenes on subjects not used for training."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from hpstm_ros.language.alignment.movement import mirrored
from hpstm_ros.model.alignment import Alignment
from hpstm_ros.train.alignment.corpus import Clip, Corpus
from hpstm_ros.train.alignment.measures import (
    Retrieval,
    clip_vectors,
    interval,
    retrieval,
    sides,
    text_vectors,
)
from hpstm_ros.train.alignment.released import scene_trials
from hpstm_ros.train.alignment.training import Labels

F32 = NDArray[np.float32]
Row = dict[str, Any]

POOLS = 50
"""Number of pools per query, each with its own clip and 31 random ones."""
SCENES = 800
_NEIGHBOURS = 5


def rows_of(
    name: str,
    model: Alignment,
    document: dict[str, Any],
    corpus: Corpus,
    labels: Labels,
    split: str,
) -> list[Row]:
    """All rows of a network on a split."""
    clips = corpus.select(split)
    texts = text_vectors(model, corpus)
    straight, flipped = (clip_vectors(model, corpus, clips, flip) for flip in (False, True))
    found = retrieval(corpus, clips, texts, straight, seed=1, pools=POOLS)
    rows = _retrieval_rows(name, split, found)
    sided = sides(corpus, clips, texts, straight, flipped)
    if len(sided.right):
        rows.append(_row(name, split, "sides_distinguished", sided.right, sided.clip))
    return rows + _scene_rows(name, model, document, corpus, labels, split)


def bag_of_words(corpus: Corpus, split: str) -> list[Row]:
    """Baseline: finds the training texts with the most common words, and motion similar to
    theirs.
    """
    clips = corpus.select(split)
    known = corpus.select("train")
    texts = list(dict.fromkeys(t for clip in known for t in clip.texts[: clip.written]))
    looks = _standard(corpus, known, False)
    scale = looks.std(0) + 1e-6
    of_text: dict[int, list[int]] = {}
    for i, clip in enumerate(known):
        for text in clip.texts[: clip.written]:
            of_text.setdefault(text, []).append(i)
    mean_look = np.stack([(looks[of_text[t]] / scale).mean(0) for t in texts])
    words = _Words([corpus.texts[t] for t in texts])
    wanted = sorted({t for clip in clips for t in (*clip.texts[: clip.written], *clip.mirrored)})
    look_of = {}
    for text in wanted:
        similarity = words.similarity(corpus.texts[text])
        nearest = np.argsort(-similarity, kind="stable")[:_NEIGHBOURS]
        weight = similarity[nearest] + 1e-6
        look_of[text] = (mean_look[nearest] * weight[:, None]).sum(0) / weight.sum()
    width = mean_look.shape[1]
    vectors = np.zeros((len(corpus.texts), width), np.float32)
    for text, look in look_of.items():
        vectors[text] = look / max(float(np.linalg.norm(look)), 1e-9)

    def motions(flip: bool) -> F32:
        x = _standard(corpus, clips, flip) / scale
        return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)

    straight = motions(False)
    rows = _retrieval_rows(
        "bag_of_words", split, retrieval(corpus, clips, vectors, straight, seed=1, pools=POOLS)
    )
    sided = sides(corpus, clips, vectors, straight, motions(True))
    if len(sided.right):
        rows.append(_row("bag_of_words", split, "sides_distinguished", sided.right, sided.clip))
    return rows


class _Words:
    """Bags of words of texts, weighted by the rarity of the words."""

    def __init__(self, texts: Sequence[str]) -> None:
        bags = [set(_words(text)) for text in texts]
        counts = Counter(word for bag in bags for word in bag)
        self._number = {word: i for i, word in enumerate(sorted(counts))}
        weight = {word: np.log(len(bags) / count) + 0.1 for word, count in counts.items()}
        self._weight = np.array([weight[word] for word in self._number])
        self._bags = np.stack([self._vector(bag) for bag in bags])

    def similarity(self, text: str) -> NDArray[np.float64]:
        """Cosine with each of the texts."""
        return np.asarray(self._bags @ self._vector(set(_words(text))))

    def _vector(self, bag: set[str]) -> NDArray[np.float64]:
        vector = np.zeros(len(self._number))
        known = [self._number[word] for word in bag if word in self._number]
        vector[known] = self._weight[known]
        return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", text.lower())


def _standard(corpus: Corpus, clips: Sequence[Clip], flip: bool) -> F32:
    """Statistics of clips: means and standard deviations of their features (C, 170), centred on the
    corpus.
    """
    centre = corpus.features[::11].astype(np.float32).mean(0)
    rows = []
    for clip in clips:
        x = corpus.features[clip.start : clip.stop].astype(np.float32)
        x = mirrored(x) if flip else x
        rows.append(np.concatenate((x.mean(0) - centre, x.std(0))))
    return np.stack(rows)


def _retrieval_rows(name: str, split: str, found: Retrieval) -> list[Row]:
    rows = [
        _row(name, split, "text_to_motion_r1", found.first, found.clip),
        _row(name, split, "text_to_motion_r3", found.third, found.clip),
        _row(name, split, "text_to_motion_chance_r1", found.chance, found.clip),
    ]
    rows.append(
        {
            "name": name,
            "case": split,
            "metric": "queries",
            "value": len(found.clip),
            "unit": "texts",
        }
    )
    return rows


def _scene_rows(
    name: str,
    model: Alignment,
    document: dict[str, Any],
    corpus: Corpus,
    labels: Labels,
    split: str,
) -> list[Row]:
    """Share of scenes that score above their corrupted copies, and share classified correctly."""
    calibration = document.get("calibration", {}).get("scene")
    if calibration is None:
        return []
    weights = np.array(calibration)
    fits, corrupted, faults, owner = scene_trials(
        model, corpus, labels, corpus.select(split), SCENES, seed=11
    )
    good, bad = (expit(x @ weights[:-1] + weights[-1]) for x in (fits, corrupted))
    above = (good > bad).astype(np.float64)
    rows = [_row(name, split, "corrupted_scenes_detected", above, owner)]
    for fault in sorted(set(faults)):
        of = np.array([f == fault for f in faults])
        metric = f"corrupted_scenes_detected_{fault.replace(' ', '_')}"
        rows.append(_row(name, split, metric, above[of], owner[of]))
    right = np.concatenate((good > 0.5, bad < 0.5)).astype(np.float64)
    rows.append(_row(name, split, "scenes_judged_right", right, np.concatenate((owner, owner))))
    return rows


def _row(
    name: str, case: str, metric: str, values: NDArray[np.float64], owner: NDArray[np.int64]
) -> Row:
    value, low, high = interval(values, owner)
    return {
        "name": name,
        "case": case,
        "metric": f"{metric}_pct",
        "value": round(value, 2),
        "unit": "%",
        "low": round(low, 2),
        "high": round(high, 2),
    }
