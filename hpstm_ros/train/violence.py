"""Training of the classifier of violent motion, and selection of violent clips."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.generation.guard import WINDOW, windows
from hpstm_ros.generation.heading_frames import STEP
from hpstm_ros.generation.violent_words import is_violent
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.model.tokens import STRIDE, VqVae
from hpstm_ros.model.violence import ViolenceClassifier
from hpstm_ros.train.heading_windows import Clips, joint_positions
from pallas_ros.data.library import LibraryClip
from pallas_ros.files.weights import weights_metadata
from pallas_ros.train.loop import LoopSettings, fit

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

PACKS = ("cmu_actions", "cmu_full")
"""Motion packs to train on: their licence permits commercial use of the weights."""
_BLUR = (1, 3, 5)
"""Widths in frames of the running mean over a training window, since generated motion is smoother
than recorded motion.
"""


@dataclass(frozen=True)
class ViolenceSettings:
    """Settings of the training.

    Attributes:
        batch: windows per step, half of them violent.
        width: channels of the classifier.
        start: released weights to start from; empty for a new network.
        false_alarms: share of harmless validation clips that are flagged at the threshold.
        loop: settings of the training loop.
    """

    batch: int = 64
    width: int = 40
    start: str = ""
    false_alarms: float = 0.01
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(steps=600))


@dataclass(frozen=True)
class Sorted:
    """Names of clips, classified by their descriptions.

    Attributes:
        violent: a description of the clip is violent.
        harmless: no description is violent.
        unclear: only the description of the whole session is violent.
    """

    violent: frozenset[str]
    harmless: frozenset[str]
    unclear: frozenset[str]


def sort_clips(clips: Iterable[LibraryClip], descriptions: Descriptions) -> Sorted:
    """Classify clips by their descriptions."""
    sets: tuple[set[str], set[str], set[str]] = (set(), set(), set())
    for clip in clips:
        trial = clip.name.split(".")[0]
        texts = [descriptions.trials.get(clip.name, ""), *descriptions.sentences.get(trial, ())]
        if clip.pack == "bandai_namco":
            texts.append(clip.content)
        kind = 1
        if any(is_violent(text) for text in texts):
            kind = 0
        elif is_violent(clip.content):
            kind = 2
        sets[kind].add(clip.name)
    return Sorted(*(frozenset(names) for names in sets))


def guard_windows(frames: Tensor) -> Tensor:
    """Convert windows (B, T, 138) to inputs of the classifier (B, T, 68)."""
    joints = joint_positions(frames).flatten(-2)
    return torch.cat((joints, frames[..., STEP]), dim=-1)


class _Batches(Iterator[tuple[Tensor, Tensor]]):
    """Infinite iterator of batches, half of them violent: windows (B, 64, 68) and labels (B, 1)."""

    def __init__(
        self,
        violent: Clips,
        harmless: Clips,
        batch: int,
        generator: torch.Generator,
        tokens: VqVae | None,
    ) -> None:
        self._tokens = tokens
        self._sets = (violent, harmless)
        self._batch = batch
        self._generator = generator

    def __next__(self) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=self._generator)))
        half = self._batch // 2
        frames = np.concatenate([each.draw(half, WINDOW, rng) for each in self._sets])
        motion = torch.from_numpy(frames)
        if self._tokens is not None:
            motion[::2] = reconstructed(self._tokens, motion[::2])
        x = guard_windows(motion)
        width = int(rng.choice(_BLUR))
        if width > 1:
            padded = F.pad(x.transpose(1, 2), (width // 2, width // 2), mode="replicate")
            x = F.avg_pool1d(padded, width, stride=1).transpose(1, 2)
        x = x * torch.from_numpy(rng.uniform(0.9, 1.1, (len(x), 1, 1)).astype(np.float32))
        label = torch.cat((torch.ones(half, 1), torch.zeros(half, 1)))
        return x, label


def _loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
    x, label = batch
    logit = model(x)
    loss = F.binary_cross_entropy_with_logits(logit, 0.95 * label + 0.025)
    right = ((logit > 0) == (label > 0.5)).float().mean()
    return loss, {"right": float(right)}


def train_violence(
    training: Clips,
    validation: Clips,
    words: Sorted,
    settings: ViolenceSettings,
    folder: Path,
    tokens: VqVae | None = None,
) -> tuple[ViolenceClassifier, float]:
    """Train, resuming from ``folder``; return the model and its threshold.

    With ``tokens``, half of the windows are reconstructions of this VQ-VAE, since generated
    motion is smoother than recordings, and a classifier of recordings alone misses smooth
    punches.
    """
    torch.manual_seed(settings.loop.seed)
    torch.set_num_threads(1)
    model = ViolenceClassifier(settings.width)
    if settings.start:
        weights_metadata(settings.start)
        model.load_state_dict(load_file(settings.start))
    generator = torch.Generator().manual_seed(1 + settings.loop.seed)
    batches = _Batches(
        training.only(words.violent),
        training.only(words.harmless),
        settings.batch,
        generator,
        tokens,
    )
    known = words.violent | words.harmless
    judged = validation.only(known)
    labels = np.array([name in words.violent for name in judged.names])

    def validate(module: nn.Module) -> dict[str, float]:
        net = cast(ViolenceClassifier, module)
        figures = {"auc": area_under_curve(clip_scores(net, judged), labels)}
        if tokens is not None:
            softer = clip_scores(net, judged, tokens)
            figures["auc_reconstructed"] = area_under_curve(softer, labels)
        return figures

    fit(model, batches, _loss, settings.loop, folder, validate, generator)
    model.eval()
    scores = clip_scores(model, judged)
    if tokens is not None:
        scores = np.maximum(scores, clip_scores(model, judged, tokens))
    threshold = float(np.quantile(scores[~labels], 1 - settings.false_alarms))
    (folder / "threshold.json").write_text(json.dumps({"threshold": threshold}))
    return model, threshold


@torch.no_grad()
def clip_scores(model: ViolenceClassifier, clips: Clips, tokens: VqVae | None = None) -> F64:
    """Probability of violence of each clip (clips,): the maximum over its windows.

    With ``tokens``, the clips are first reconstructed by this model.
    """
    scores = []
    for index in range(len(clips.names)):
        frames = clips.clip(index)
        if tokens is not None:
            whole = np.array(frames[: len(frames) // STRIDE * STRIDE])
            frames = reconstructed(tokens, torch.from_numpy(whole)[None])[0].numpy()
        scores.append(float(window_scores(model, frames).max()))
    return np.array(scores)


@torch.no_grad()
def reconstructed(tokens: VqVae, frames: Tensor) -> Tensor:
    """Frames (B, T, 138) after encoding and decoding."""
    return tokens.decode(tokens.encode(frames))


@torch.no_grad()
def window_scores(model: ViolenceClassifier, frames: F32) -> F64:
    """Probability (W,) of each window of a clip (T, 138)."""
    x = guard_windows(torch.from_numpy(np.ascontiguousarray(frames)))
    parts = torch.from_numpy(windows(x.numpy()))
    return np.asarray(torch.sigmoid(model(parts))[:, 0].numpy(), dtype=np.float64)


def area_under_curve(scores: F64, labels: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the probability that a violent clip scores above a harmless one.

    Args:
        scores: (n,).
        labels: (n,) whether violent. NaN is returned if all are equal.
    """
    rank = rankdata(scores)  # equal scores count as half
    positive = int(labels.sum())
    negative = int((~labels).sum())
    if not positive or not negative:
        return float("nan")
    return float((rank[labels].sum() - positive * (positive + 1) / 2) / (positive * negative))
