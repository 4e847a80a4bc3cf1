"""Training of the network for forecasts and gaps, which predicts unobserved joints from motion."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpstm_ros.generation.bridging import bridged, seen_from_reference
from hpstm_ros.generation.representation import FPS, FRAMES
from hpstm_ros.model.expectation import (
    SIGMA_M,
    ExpectationConfig,
    ExpectationNet,
    ExpectationStep,
)
from hpstm_ros.train.contexts import LIMBS
from hpstm_ros.train.released import document_of, load_released, save_both
from hpstm_ros.train.windows import MotionWindows, WindowBatch
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.train.loop import LoopSettings, fit

F32 = NDArray[np.float32]
J = len(JOINTS)
PAST = round(FPS)
"""Observed frames of a forecast."""
AHEAD = round(FPS)
"""Frames that a forecast predicts."""
_LONGEST = round(3.0 * FPS)
_USUAL = round(1.5 * FPS)
"""Maximum frames of a gap, and maximum of most gaps."""
_TURN = 0.1
"""Weight of the error of r6d against that of positions in m."""
_SPREAD = 0.01
"""Weight of the likelihood, whose gradient does not reach the rest of the network."""
_CHECK_WINDOWS = 96


@dataclass(frozen=True)
class ExpectationSettings:
    """Settings of a training run (config/training/expectation.yaml).

    Attributes:
        packs: motion packs to train on; all if empty.
        batch: windows a step.
        ahead, gap: shares of the windows that are forecasts, and gaps of the whole body; the rest
            are gaps of limbs.
        seed: of weights and data.
        model: shape of the network.
        loop: length and speed.
    """

    packs: tuple[str, ...] = ()
    batch: int = 32
    ahead: float = 0.45
    gap: float = 0.35
    seed: int = 1
    model: ExpectationConfig = field(default_factory=ExpectationConfig)
    loop: LoopSettings = field(default_factory=LoopSettings)


@dataclass
class Batch:
    """Windows in the frame of the last observed body.

    Attributes:
        bridged: (B, 120, 137).
        seen: (B, 120, 22).
        truth: (B, 120, 137).
        asked: (B, 120, 22), 1 where the answer counts.
    """

    bridged: Tensor
    seen: Tensor
    truth: Tensor
    asked: Tensor


def pattern(
    rng: np.random.Generator, ahead: float, gap: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the observed joints of a window (120, 22), and those to be predicted."""
    draw = rng.random()
    seen = np.ones((FRAMES, J), dtype=bool)
    if draw < ahead:
        start = int(rng.integers(0, FRAMES - PAST - AHEAD + 1)) if rng.random() < 0.5 else 0
        seen[:start] = False
        seen[start + PAST :] = False
        asked = np.zeros_like(seen)
        asked[start + PAST : start + PAST + AHEAD] = True
        return seen, asked
    if draw < ahead + gap:
        length = int(rng.integers(8, _LONGEST + 1 if rng.random() < 0.4 else _USUAL + 1))
        start = int(rng.integers(1, FRAMES - length))
        seen[start : start + length] = False
        return seen, ~seen
    length = int(rng.integers(15, FRAMES + 1))
    start = int(rng.integers(0, FRAMES - length + 1))
    for limb in rng.choice(len(LIMBS), int(rng.integers(1, 3)), replace=False):
        seen[start : start + length, list(LIMBS[limb])] = False
    return seen, ~seen


def make_batch(truth: F32, valid: NDArray[np.bool_], seen: Any, asked: Any) -> Batch:
    """Windows (B, 120, 137) of which ``seen`` (B, 120, 22) is known."""
    seen = seen & valid[..., None]
    moved = np.stack([seen_from_reference(x, s)[0] for x, s in zip(truth, seen, strict=True)])
    return Batch(
        torch.from_numpy(bridged(moved, seen)),
        torch.from_numpy(seen.astype(np.float32)),
        torch.from_numpy(moved),
        torch.from_numpy((asked & valid[..., None]).astype(np.float32)),
    )


class Stream(Iterator[Batch]):
    """Endless batches, from a generator whose state is kept in the checkpoint."""

    def __init__(
        self, windows: MotionWindows, settings: ExpectationSettings, generator: torch.Generator
    ) -> None:
        self._windows = windows
        self._settings = settings
        self._generator = generator

    def __next__(self) -> Batch:
        """The next batch."""
        s = self._settings
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=self._generator)))
        drawn = self._windows.draw(rng, s.batch)
        patterns = [pattern(rng, s.ahead, s.gap) for _ in range(s.batch)]
        seen, asked = (np.stack(part) for part in zip(*patterns, strict=True))
        return make_batch(drawn.features, drawn.valid, seen, asked)


def loss(model: ExpectationNet, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Mean distance of the predicted joints, error of their orientations, likelihood."""
    expected, spread = model(batch.bridged, batch.seen)
    truth = model.positions(batch.truth)
    away = model.positions(expected) - truth
    asked = batch.asked
    count = asked.sum() + 1
    distance = (asked * (away.square().sum(-1) + 1e-6).sqrt()).sum() / count
    turned = (expected - batch.truth).abs()[..., 3:135].reshape(*asked.shape, 6)
    turn = (asked * turned.mean(-1)).sum() / count
    deviation = spread.reshape(away.shape)
    residual = (away.detach() / (SIGMA_M * deviation.exp())).square()
    nll = (asked[..., None] * (0.5 * residual.clamp_max(100.0) + deviation)).sum() / (3 * count)
    total = distance + _TURN * turn + _SPREAD * nll
    parts = {"distance": distance, "turn": turn, "nll": nll}
    return total, {name: float(x.detach()) for name, x in parts.items()}


def standardisation(windows: MotionWindows, model: ExpectationNet, seed: int) -> None:
    """Set the model's mean and scale to those of the data in the frame of a window."""
    drawn = windows.draw(np.random.default_rng(seed), 256)
    rows = torch.from_numpy(drawn.features[drawn.valid])
    least = torch.full((rows.shape[1],), 0.1)
    least[:3] = 0.05
    with torch.no_grad():
        model.mean.copy_(rows.mean(0))
        model.scale.copy_(torch.maximum(rows.std(0), least))


def validation_windows(library: MotionLibrary) -> WindowBatch:
    """Fixed windows of the validation subjects."""
    clips = library.select("validation_subjects") or library.require("validation")
    windows = MotionWindows(library, clips)
    whole = windows.cover(4.0)
    rng = np.random.default_rng(31)
    return windows.batch([whole[i] for i in rng.permutation(len(whole))[:_CHECK_WINDOWS]])


def checks(library: MotionLibrary) -> Any:
    """Errors on windows of the validation subjects: ahead, in gaps, and of bridging alone."""
    drawn = validation_windows(library)
    arm = [JOINT_INDEX[f"right_{n}"] for n in ("shoulder", "elbow", "wrist")]
    cases: dict[str, Any] = {}
    for name, hidden, joints, frames in (
        ("half", slice(PAST, None), slice(None), slice(PAST + 14, PAST + 15)),
        ("one", slice(PAST, None), slice(None), slice(PAST + 29, PAST + 30)),
        ("body", slice(45, 75), slice(None), slice(45, 75)),
        ("arm", slice(45, 75), arm, slice(45, 75)),
    ):
        seen = np.ones((len(drawn.windows), FRAMES, J), dtype=bool)
        seen[:, hidden, joints] = False
        asked = np.zeros_like(seen)
        asked[:, frames, joints] = True
        cases[name] = make_batch(drawn.features, drawn.valid, seen, asked)

    def measure(net: ExpectationNet) -> dict[str, float]:
        found = {}
        with torch.no_grad():
            for name, batch in cases.items():
                truth = net.positions(batch.truth)
                for kind, features in (
                    ("", net(batch.bridged, batch.seen)[0]),
                    ("_bridged", batch.bridged),
                ):
                    away = (net.positions(features) - truth).norm(dim=-1)
                    mean = (batch.asked * away).sum() / batch.asked.sum()
                    found[f"{name}{kind}_cm"] = 100 * float(mean)
        return found

    return measure


def kept_clips(library: MotionLibrary, settings: ExpectationSettings) -> list[LibraryClip]:
    """The clips of the training split of the chosen packs."""
    clips = library.require("train")
    return [clip for clip in clips if not settings.packs or clip.pack in settings.packs]


def train(
    library: MotionLibrary, settings: ExpectationSettings, folder: Path
) -> tuple[ExpectationNet, dict[str, float]]:
    """Train; the model with averaged weights, and its last validation. Resumes from ``folder``."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    model = ExpectationNet(settings.model)
    windows = MotionWindows(library, kept_clips(library, settings), keep=True)
    standardisation(windows, model, settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    validate = checks(library)
    fit(
        model,
        Stream(windows, settings, generator),
        cast("Any", loss),
        settings.loop,
        folder,
        cast("Any", validate),
        generator,
    )
    return model, validate(model)


def export(
    model: ExpectationNet, folder: str | Path, document: dict[str, Any], name: str = "expectation"
) -> Path:
    """Write ``<name>.safetensors`` and ``<name>.onnx`` into a folder, each whole or not at all."""
    document = document_of("expectation", FPS, model.config, document)
    return save_both(model, ExpectationStep(model), folder, name, document)


def load_model(path: str | Path) -> tuple[ExpectationNet, dict[str, Any]]:
    """The model of ``expectation.safetensors``, and its document.

    Raises:
        PallasError: the file is not that.
    """
    return load_released(
        path, "the network of forecasts and gaps", ExpectationConfig, ExpectationNet
    )
