"""Training of HPSTM, in three resumable runs of `pallas_ros.train.loop`: body, stream, covariance.

Body: independent windows, for as many motions as possible. Stream: three successive windows of each
motion, so that the streaming output is smooth; includes the covariance. Covariance: only its
layers, with fixed means.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hpstm_ros.model.hpstm import Hpstm, HpstmConfig
from hpstm_ros.train.batches import Batch, WindowSampler
from hpstm_ros.train.export import load_model
from hpstm_ros.train.losses import LossWeights, Truth, loss, negative_log_likelihood
from hpstm_ros.train.noise import NO_FAILURES
from hpstm_ros.train.released import start_from
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.train import processes
from pallas_ros.train.loop import LoopSettings, device, fast_bfloat16, fit

CHECKED = (0, 2, 5, 10)
"""Look-aheads in the validation."""
_CHECK_WINDOWS = 192


@dataclass(frozen=True)
class RunSettings(LoopSettings):
    """Settings of one of the three runs; a run of 0 steps is skipped."""

    min_steps: ClassVar[int] = 0


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training run.

    Attributes:
        batch: windows per step.
        asked: number of look-aheads per window.
        known: probability that bone lengths are given; their relative error is ``bones_off``.
        mixed: whether to use bfloat16 inside the Transformer.
        seed: of weights and data.
        packs: motion packs to train on; empty for all.
        start: released weights to start from; empty for a new network.
        body_share: share of the weights after the body run in an average with those after the
            stream run. Averaged weights are about as accurate as the former and nearly as smooth
            as the latter (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
        model: shape of the network.
        weights: of the loss.
        body, stream, spread: settings of the three runs.
    """

    batch: int = 64
    asked: int = 2
    known: float = 0.7
    bones_off: float = 0.012
    mixed: bool = False
    seed: int = 1
    packs: tuple[str, ...] = ()
    start: str = ""
    body_share: float = 0.0
    model: HpstmConfig = field(default_factory=HpstmConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    body: RunSettings = field(default_factory=lambda: RunSettings(steps=6000, learning_rate=2e-3))
    stream: RunSettings = field(default_factory=lambda: RunSettings(steps=2000, learning_rate=1e-3))
    spread: RunSettings = field(
        default_factory=lambda: RunSettings(steps=600, learning_rate=1.5e-3)
    )


@dataclass
class Windows:
    """A training batch: inputs of the model, and ground truth."""

    inputs: tuple[Tensor, ...]
    truth: Truth


class WindowStream(Iterator[Windows]):
    """Infinite iterator of batches. All random numbers come from ``generator``, so that a resumed
    run continues the sequence.

    Args:
        sampler: of motion; its generator is set here.
        settings: batch size and look-aheads.
        consecutive: number of successive windows per motion.
        generator: of torch, stored in the checkpoint.
    """

    def __init__(
        self,
        sampler: WindowSampler,
        settings: TrainingSettings,
        consecutive: int,
        generator: torch.Generator,
    ) -> None:
        self._sampler = sampler
        self._settings = settings
        self._consecutive = consecutive
        self._generator = generator

    def __next__(self) -> Windows:
        """The next batch."""
        s = self._settings
        n = self._consecutive
        rng = self._sampler.rng = np.random.default_rng(
            int(torch.randint(2**62, (1,), generator=self._generator))
        )
        rows = max(s.batch // n, 1)
        lookahead = rng.integers(0, s.model.lookaheads, (rows, s.asked))
        lookahead[:, 0] = np.where(
            rng.random(rows) < 0.4, 0, lookahead[:, 0]
        )  # the causal estimate is the hardest
        known = (rng.random((rows, 1)) < s.known).astype(np.float32)
        drawn = self._sampler.draw(rows, s.model.frames + n - 1)
        off = s.bones_off * rng.uniform(0, 1.5, (rows, 1)) * rng.standard_normal(drawn.bones.shape)
        given = (drawn.bones * np.exp(off)).astype(np.float32)
        return windows(drawn, s.model, lookahead, given, known, n)


def windows(
    drawn: Batch,
    model: HpstmConfig,
    lookahead: NDArray[np.int64],
    given: Any,
    known: Any,
    consecutive: int = 1,
) -> Windows:
    """Make a batch of ``consecutive`` neighbouring windows per row, with the look-aheads (B, Q)."""
    rows = len(drawn.points)
    frames = model.frames

    def cut(x: NDArray[Any]) -> Tensor:
        return torch.from_numpy(
            np.stack([x[:, k : k + frames] for k in range(consecutive)], 1).reshape(
                -1, frames, *x.shape[2:]
            )
        )

    def repeated(x: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.repeat(x, consecutive, axis=0))

    at = (frames - 1 - lookahead)[:, None] + np.arange(consecutive)[:, None]  # (B, consecutive, Q)
    row = np.arange(rows)[:, None, None]

    def asked(x: NDArray[Any]) -> Tensor:
        return torch.from_numpy(x[row, at].reshape(rows * consecutive, -1, *x.shape[2:]))

    matrices = rotations.to_matrix(asked(drawn.rotations).numpy()).astype(np.float32)
    ask = torch.eye(model.lookaheads)[repeated(lookahead)]
    where = device()
    inputs = (cut(drawn.points), cut(drawn.seen).float(), repeated(given), repeated(known), ask)
    truth = Truth(
        asked(drawn.truth),
        torch.from_numpy(matrices),
        repeated(drawn.bones),
        asked(drawn.seen).float(),
    )
    return Windows(
        tuple(x.to(where) for x in inputs),
        Truth(*(getattr(truth, name).to(where) for name in Truth.__dataclass_fields__)),
    )


def train(
    library: MotionLibrary, settings: TrainingSettings, folder: Path
) -> tuple[Hpstm, dict[str, float]]:
    """Train; the model with its averaged weights, and its last validation (see `checks`).

    Resumes from ``folder``.
    """
    rank = processes.start()
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    model = Hpstm(settings.model).to(device())
    if settings.start:
        start_from(model, load_model(settings.start)[0], settings.start)
    model.mixed = settings.mixed and fast_bfloat16()  # four times slower if it is emulated
    sampler = WindowSampler(library, training_clips(library, settings.packs), settings.seed)
    validate = checks(library, settings.model)

    def run(
        name: str,
        loop: RunSettings,
        consecutive: int,
        measure: Callable[[Hpstm, Windows], tuple[Tensor, dict[str, float]]],
    ) -> None:
        if loop.steps == 0:
            return
        generator = torch.Generator().manual_seed(1000 * settings.seed + 10 * rank + consecutive)
        stream = WindowStream(sampler, settings, consecutive, generator)
        fit(
            model,
            stream,
            cast("Any", measure),
            loop,
            folder / name,
            cast("Any", validate),
            generator,
        )

    without = LossWeights(**{**vars(settings.weights), "spread": 0.0})
    run("body", settings.body, 1, lambda m, w: loss(m(*w.inputs), w.truth, without))
    of_body = {name: value.detach().clone() for name, value in model.named_parameters()}
    run("stream", settings.stream, 3, lambda m, w: loss(m(*w.inputs), w.truth, settings.weights, 3))
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.lerp_(of_body[name], settings.body_share)
    if settings.weights.spread > 0:
        only(model, model.head_spread)
        run("spread", settings.spread, 1, _spread)
    model.mixed = False  # released models use float32
    return model, validate(model)


def only(model: nn.Module, part: nn.Module) -> None:
    """Make one part of a model trainable, with the rest fixed."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in part.parameters():
        parameter.requires_grad_(True)


def _spread(model: Hpstm, w: Windows) -> tuple[Tensor, dict[str, float]]:
    value = negative_log_likelihood(model(*w.inputs), w.truth)
    return value, {"nll": float(value.detach())}


def checks(library: MotionLibrary, model: HpstmConfig) -> Callable[[Hpstm], dict[str, float]]:
    """Validation: mean joint error in mm by look-ahead, on windows without augmentation with the
    noise model of docs/guide/conventions.md, of the validation split and of held-out contents.
    """
    fixed = {}
    for name, clips in zip(("validation", "development"), familiar_and_not(library), strict=True):
        if clips:
            drawn = WindowSampler(library, clips, 7, failures=NO_FAILURES, variation=None).draw(
                _CHECK_WINDOWS, model.frames
            )
            lookahead = np.tile(np.array(CHECKED), (_CHECK_WINDOWS, 1))
            fixed[name] = windows(
                drawn, model, lookahead, drawn.bones, np.ones((_CHECK_WINDOWS, 1), dtype=np.float32)
            )

    def measure(net: Hpstm) -> dict[str, float]:
        figures: dict[str, float] = {}
        mixed = net.mixed
        net.mixed = False
        with torch.no_grad():
            for name, w in fixed.items():
                error = 1e3 * (net(*w.inputs).positions - w.truth.positions).norm(dim=-1).mean(
                    (0, 2)
                )
                figures |= {f"{name}_{n}": float(e) for n, e in zip(CHECKED, error, strict=True)}
        net.mixed = mixed
        return figures

    return measure


def training_clips(library: MotionLibrary, packs: tuple[str, ...]) -> list[LibraryClip]:
    """The training clips of the given packs (empty: all), without the development contents if no
    subjects are held out.

    Raises:
        PallasError: a pack has no training clip.
    """
    subjects = bool(library.select("validation_subjects"))
    clips = library.require("train", development=None if subjects else False)
    known = {clip.pack for clip in clips}
    for pack in packs:
        if pack not in known:
            raise PallasError(
                f"the pack '{pack[:40]}' (packs) has no training clip: known packs are"
                f" {', '.join(sorted(known))}"
            )
    return [clip for clip in clips if not packs or clip.pack in packs]


def familiar_and_not(library: MotionLibrary) -> tuple[list[LibraryClip], list[LibraryClip]]:
    """Clips not used for training: of people or contents that are in the training data, and of
    people or contents that are not.

    A folder of motion files has no held-out contents; the former are used instead.
    """
    subjects = library.select("validation_subjects")
    if subjects:
        return [c for c in library.select("validation") if c.pack == subjects[0].pack], subjects
    kept_out = library.select("train", development=True) + library.select(
        "validation", development=True
    )
    familiar = library.require("validation", development=False)
    return familiar, kept_out or familiar
