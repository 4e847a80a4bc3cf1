"""Training of the alignment model: contrastive, over single and paired modalities."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hpstm_ros.language.alignment.movement import FRAMES, SHORTEST_FRAMES, mirrored, padded
from hpstm_ros.language.alignment.scene import (
    BOXES,
    MEETING_WIDTH,
    NEED_WIDTH,
    SHAPE_WIDTH,
    Box,
    scene_inputs,
)
from hpstm_ros.model.alignment import Alignment, AlignmentConfig
from hpstm_ros.train.alignment import scenes
from hpstm_ros.train.alignment.corpus import Clip, Corpus
from pallas_ros.body.errors import PallasError
from pallas_ros.train.loop import LoopSettings, fit

F32 = NDArray[np.float32]

SUPPORT_LABELS: Final = ("chair", "stool", "step", "table", "wall")
_SAME_TEXT: Final = 0.8
"""Cosine similarity above which two texts are not negatives of each other (TMR, Petrovich 2023)."""
_CHECK_POOL: Final = 32


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training run.

    Attributes:
        batch: windows per step, in addition to their mirror images.
        scenes: number of these with a scene.
        pairs: weight of the terms with the embedding of a pair.
        pack_share: maximum share of ``bandai_namco`` in a batch.
        noise: of the movement features, in standard deviations.
        seed: of weights and data.
        model: shape of the network.
        loop: length and speed.
    """

    batch: int = 64
    scenes: int = 48
    pairs: float = 1.0
    pack_share: float = 0.35
    noise: float = 0.1
    seed: int = 1
    model: AlignmentConfig = field(default_factory=AlignmentConfig)
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(steps=2500, learning_rate=1e-3, validate_every=250)
    )


class Labels:
    """Sentence vectors of the labels of boxes.

    Args:
        encode: the sentence encoder.
    """

    def __init__(self, encode: Callable[[list[str]], F32]) -> None:
        names = list(dict.fromkeys((*SUPPORT_LABELS, *scenes.THINGS)))
        self._vectors = dict(zip(names, encode(names), strict=True))
        self.width = len(next(iter(self._vectors.values())))

    def rows(self, labels: Sequence[str]) -> F32:
        """Sentence vectors (12, D) of labels, zero-padded."""
        out = np.zeros((BOXES, self.width), np.float32)
        for i, label in enumerate(labels):
            out[i] = self._vectors[label]
        return out


@dataclass
class SceneBatch:
    """Scenes as inputs of the network (S, 12, ...); ``unsupported`` (S, 3) is used in the
    scores.
    """

    shapes: Tensor
    labels: Tensor
    meetings: Tensor
    there: Tensor
    need: Tensor
    unsupported: Tensor

    def arguments(self) -> tuple[Tensor, ...]:
        """The arguments (S, 12, ...) of `Alignment.hidden_scene`, in order."""
        return (self.shapes, self.labels, self.meetings, self.there, self.need)


@dataclass
class Batch:
    """A training batch; the second half is the mirror image of the first.

    Attributes:
        sentence, features: of the texts (2B, ...).
        movement, valid: of the windows (2B, ...).
        positive: (2B, 2B) whether text i describes window j.
        ignored: (2B, 2B) pairs that are neither positive nor negative.
        fits, corrupted: scenes of the first S windows.
    """

    sentence: Tensor
    features: Tensor
    movement: Tensor
    valid: Tensor
    positive: Tensor
    ignored: Tensor
    fits: SceneBatch
    corrupted: SceneBatch


def scene_batch(windows: Sequence[tuple[Sequence[Box], F32, float]], labels: Labels) -> SceneBatch:
    """Make a batch of scenes, with the points (T, 8, 3) m and the first heading of their
    windows.
    """
    rows = [scene_inputs(*window) for window in windows]

    def stack(values: list[F32], shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(np.stack(values) if values else np.zeros((0, *shape), np.float32))

    return SceneBatch(
        stack([row.shapes for row in rows], (BOXES, SHAPE_WIDTH)),
        stack([labels.rows(row.labels) for row in rows], (BOXES, labels.width)),
        stack([row.meetings for row in rows], (BOXES, MEETING_WIDTH)),
        stack([row.there for row in rows], (BOXES,)),
        stack([row.need for row in rows], (NEED_WIDTH,)),
        stack([row.unsupported for row in rows], (3,)),
    )


class Stream(Iterator[Batch]):
    """Infinite iterator of batches. All random numbers come from ``generator``, so that a resumed
    run continues the sequence.

    Raises:
        PallasError: the data contain no training clips.
    """

    def __init__(
        self,
        corpus: Corpus,
        clips: Sequence[Clip],
        settings: TrainingSettings,
        labels: Labels,
        generator: torch.Generator,
    ) -> None:
        if not clips:
            raise PallasError(
                "no clip with a description belongs to the training split: give the motion packs"
            )
        self._corpus = corpus
        self._clips = list(clips)
        self._settings = settings
        self._labels = labels
        self._generator = generator
        self._share = _shares(corpus, self._clips, settings.pack_share)
        self._deviation = np.maximum(corpus.features[::7].astype(np.float32).std(0), 1e-3)

    def __next__(self) -> Batch:
        """The next batch."""
        s = self._settings
        c = self._corpus
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=self._generator)))
        chosen = [self._clips[i] for i in rng.choice(len(self._clips), s.batch, p=self._share)]
        ranges = [_range(clip, rng) for clip in chosen]
        pairs = [_window(c, r) for r in ranges]
        there = np.stack([p[1] for p in pairs])
        movement = np.stack([p[0] for p in pairs])
        movement = np.concatenate((movement, mirrored(movement)))
        there = np.concatenate((there, there))
        noise = rng.standard_normal(movement.shape, dtype=np.float32) * self._deviation
        movement = (movement + s.noise * noise) * there[..., None]
        texts = [int(rng.choice(len(clip.texts))) for clip in chosen]
        ids = np.array(
            [clip.texts[i] for clip, i in zip(chosen, texts)]
            + [clip.mirrored[i] for clip, i in zip(chosen, texts)]
        )
        positive, ignored = relations(c, ids)
        drawn = [scenes.draw(c.points[a:b], rng) for a, b in ranges[: s.scenes]]
        around = list(zip(drawn, ranges))
        return Batch(
            torch.from_numpy(c.vectors[ids]),
            torch.from_numpy(c.explicit[ids]),
            torch.from_numpy(movement),
            torch.from_numpy(there),
            torch.from_numpy(positive),
            torch.from_numpy(ignored),
            self._scene([(one.fits, *r) for one, r in around]),
            self._scene([(one.corrupted, *r) for one, r in around]),
        )

    def _scene(self, rows: Sequence[tuple[Sequence[Box], int, int]]) -> SceneBatch:
        c = self._corpus
        return scene_batch(
            [(boxes, c.points[a:b], float(c.heading[a])) for boxes, a, b in rows], self._labels
        )


def relations(
    corpus: Corpus, ids: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For texts (N,): pairs of equal meaning (N, N), and pairs too similar to be negatives (N,
    N).
    """
    same = corpus.meanings[ids][:, None] == corpus.meanings[ids][None]
    sides = corpus.explicit[ids]
    agree = (sides[:, None] == sides[None]).all(-1)
    alike = (corpus.vectors[ids] @ corpus.vectors[ids].T > _SAME_TEXT) & agree & ~same
    return same, alike


def _window(corpus: Corpus, at: tuple[int, int]) -> tuple[F32, F32]:
    return padded(corpus.features[at[0] : at[1]].astype(np.float32), 0, at[1] - at[0])


def _range(clip: Clip, rng: np.random.Generator) -> tuple[int, int]:
    """A random window of a clip, mostly of 4 s, otherwise shorter."""
    length = FRAMES if rng.random() < 0.6 else int(rng.integers(2 * SHORTEST_FRAMES, FRAMES))
    length = min(length, clip.stop - clip.start)
    start = clip.start + int(rng.integers(clip.stop - clip.start - length + 1))
    return start, start + length


def _shares(corpus: Corpus, clips: list[Clip], pack_share: float) -> NDArray[np.float64]:
    """Sampling probability of each clip: proportional to the square root of the duration of its
    meaning, to favour rare ones.
    """
    keys = [int(corpus.meanings[clip.texts[0]]) for clip in clips]
    seconds = np.array([min(clip.stop - clip.start, 300) for clip in clips], np.float64)
    totals: dict[int, float] = {}
    for key, duration in zip(keys, seconds):
        totals[key] = totals.get(key, 0.0) + duration
    share = np.array([d / totals[key] ** 0.5 for key, d in zip(keys, seconds)])
    share /= share.sum()
    bandai = np.array([clip.labels.pack == "bandai_namco" for clip in clips])
    if bandai.any() and not bandai.all() and share[bandai].sum() > pack_share:
        share[bandai] *= pack_share / share[bandai].sum()
        share[~bandai] *= (1 - pack_share) / share[~bandai].sum()
    return share


def contrast(logits: Tensor, positive: Tensor, ignored: Tensor) -> Tensor:
    """InfoNCE in both directions with several positives (van den Oord et al. 2018).

    Args:
        logits: (N, N) scaled similarities of texts and motions.
        positive: (N, N) bool, matching pairs.
        ignored: (N, N) bool, pairs that are neither positive nor negative.

    Returns:
        Mean negative logarithm of the share of the positives.
    """
    logits = logits.masked_fill(ignored, -1e4)
    wanted = logits.masked_fill(~positive, -1e4)
    rows = logits.logsumexp(1) - wanted.logsumexp(1)
    columns = logits.logsumexp(0) - wanted.logsumexp(0)
    return (rows.mean() + columns.mean()) / 2


def loss(model: Alignment, batch: Batch, pairs: float) -> tuple[Tensor, dict[str, float]]:
    """Loss of a batch (scalar), and its terms: text and motion over all windows, the others over
    those with scenes.
    """
    scale = model.log_scale.clamp(max=4.0).exp()
    t = model.hidden_text(batch.sentence, batch.features)
    m = model.motion(batch.movement, batch.valid)
    text = model.embed("text", t)
    motion = model.embed("motion", m)
    parts = {"text_motion": contrast(scale * text @ motion.T, batch.positive, batch.ignored)}
    n = len(batch.fits.need)
    t = t[:n]
    m = m[:n]
    text = text[:n]
    motion = motion[:n]
    s, met = model.hidden_scene(*batch.fits.arguments())
    s_bad, met_bad = model.hidden_scene(*batch.corrupted.arguments())
    scene = model.embed("scene", s)
    bad = model.embed("scene", s_bad)
    same = torch.eye(n, dtype=torch.bool)
    positive = batch.positive[:n, :n]
    ignored = batch.ignored[:n, :n]
    alike = (positive | ignored) & ~same
    parts["text_scene"] = contrast(scale * text @ scene.T, same, alike)
    parts["motion_scene"] = contrast(scale * motion @ scene.T, same, alike)
    parts["motion_scene"] = parts["motion_scene"] + _contrast(scale, motion, scene, bad)
    if pairs > 0:
        both = model.embed("text_motion", t, m)
        text_scene = model.embed("text_scene", t, s)
        met_well = model.embed("motion_scene", m, s, met)
        met_badly = model.embed("motion_scene", m, s_bad, met_bad)
        terms = (
            contrast(scale * both @ scene.T, same, alike)
            + contrast(scale * text_scene @ motion.T, same, alike)
            + contrast(scale * met_well @ text.T, positive, ignored)
            + _contrast(scale, both, scene, bad)
            + _contrast(scale, text, met_well, met_badly)
        )
        parts["pairs"] = pairs * terms
    weights = {"text_scene": 0.3, "motion_scene": 0.3, "pairs": 0.3}
    total = sum((weights.get(name, 1.0) * value for name, value in parts.items()), torch.zeros(()))
    return total, {name: float(value.detach()) for name, value in parts.items()}


def _contrast(scale: Tensor, anchor: Tensor, good: Tensor, bad: Tensor) -> Tensor:
    """Contrastive loss between a matching scene and its corrupted copy."""
    return functional.softplus(scale * ((anchor * bad).sum(-1) - (anchor * good).sum(-1))).mean()


def train(
    corpus: Corpus, labels: Labels, settings: TrainingSettings, folder: Path
) -> tuple[Alignment, dict[str, float]]:
    """Train, resuming from ``folder``; return the averaged model and its last validation."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    model = Alignment(settings.model)
    sample = corpus.features[::3].astype(np.float32)
    model.motion.mean.copy_(torch.from_numpy(sample.mean(0)))
    model.motion.deviation.copy_(torch.from_numpy(np.maximum(sample.std(0), 1e-2)))
    generator = torch.Generator().manual_seed(settings.seed)
    stream = Stream(corpus, corpus.select("train"), settings, labels, generator)
    validate = checks(corpus)
    fit(
        model,
        stream,
        cast("Any", lambda m, batch: loss(m, batch, settings.pairs)),
        settings.loop,
        folder,
        cast("Any", validate),
        generator,
    )
    return model, validate(model)


def checks(corpus: Corpus) -> Callable[[Alignment], dict[str, float]]:
    """Validation: R@1 and R@3 in pools of 32, and the share of correct sides."""
    groups = {
        name: clips
        for name in ("validation", "validation_subjects")
        if len(clips := corpus.select(name)) >= _CHECK_POOL
    }

    def measure(model: Alignment) -> dict[str, float]:
        from hpstm_ros.train.alignment.measures import clip_vectors, retrieval, sides, text_vectors

        texts = text_vectors(model, corpus)
        figures = {}
        for name, clips in groups.items():
            straight, flipped = (clip_vectors(model, corpus, clips, flip) for flip in (False, True))
            found = retrieval(corpus, clips, texts, straight, seed=0, pools=20)
            figures[f"{name}_r1"] = 100 * float(found.first.mean())
            figures[f"{name}_r3"] = 100 * float(found.third.mean())
            sided = sides(corpus, clips, texts, straight, flipped)
            if len(sided.right):
                figures[f"{name}_sides"] = 100 * float(sided.right.mean())
        return figures

    return measure
