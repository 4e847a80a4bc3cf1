"""Training of HPSTM-Gen: flow matching, the losses of the source, contacts and foot slide."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpstm_ros.generation.representation import FRAMES
from hpstm_ros.generation.text import TEXT
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.model.hpstm_gen import SIGMA_M, STATE, Context, HpstmGen, HpstmGenConfig
from hpstm_ros.train.contexts import Captions, ContextShares, draw_context
from hpstm_ros.train.generator_export import load_model
from hpstm_ros.train.released import start_from
from hpstm_ros.train.windows import MotionWindows, WindowBatch
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.data.library import MotionLibrary
from pallas_ros.train.loop import LoopSettings, fit

J = len(JOINTS)
_FEET = [JOINT_INDEX[n] for n in ("left_foot", "right_foot")]
_LEAST_LEFT = 0.05
"""Lower bound of 1 - tau, by which the error of the velocity is divided."""
_STEP_M = 0.1
"""m, scale of the losses on differences between frames, about the level of the noise."""
_ROOT_SCALE_M = 0.35
"""m, less than the spread of the path (1 m), so that noise obscures the position less."""
_CHECK_WINDOWS = 48


@dataclass(frozen=True)
class GenWeights:
    """Weights of the losses relative to that of the flow."""

    root: float = 4.0
    """Weight of the three values of the root; 1 for all other values of the state."""
    observed: float = 0.1
    """Weight of observed joints in the loss of the flow, whose values are given."""
    velocity: float = 0.1
    acceleration: float = 0.03
    slide: float = 0.1
    nll: float = 0.02


@dataclass(frozen=True)
class GenSettings:
    """Settings of a training run (config/training/hpstm_gen.yaml)."""

    packs: tuple[str, ...] = ()
    batch: int = 32
    seed: int = 1
    start: str = ""
    """Released weights to start from, with their standardisation; empty for a new network."""
    still: float = 0.12
    """Share of windows at tau = 0 without noise, which train the expectation given the context."""
    model: HpstmGenConfig = field(default_factory=lambda: HpstmGenConfig(text=TEXT))
    shares: ContextShares = field(default_factory=ContextShares)
    weights: GenWeights = field(default_factory=GenWeights)
    loop: LoopSettings = field(default_factory=LoopSettings)


@dataclass
class GenBatch:
    """Inputs of the model, and targets."""

    state: Tensor
    noised: Tensor
    tau: Tensor
    context: Context
    valid: Tensor


class GenStream(Iterator[GenBatch]):
    """Infinite iterator of batches; the state of its generator is stored in the checkpoint."""

    def __init__(
        self,
        windows: MotionWindows,
        captions: Captions,
        model: HpstmGen,
        settings: GenSettings,
        generator: torch.Generator,
    ) -> None:
        self._windows = windows
        self._captions = captions
        self._model = model
        self._settings = settings
        self._generator = generator

    def __next__(self) -> GenBatch:
        """The next batch."""
        seed = int(torch.randint(2**62, (1,), generator=self._generator))
        rng = np.random.default_rng(seed)
        drawn = self._windows.draw(rng, self._settings.batch)
        text = self._captions.draw(rng, drawn.windows, self._settings.shares.text)
        return make_batch(rng, self._model, drawn, text, self._settings)


@torch.no_grad()
def make_batch(
    rng: np.random.Generator,
    model: HpstmGen,
    drawn: WindowBatch,
    text: NDArray[np.float32],
    settings: GenSettings,
) -> GenBatch:
    """Make a batch of states between noise and data, with random contexts.

    Args:
        rng: random generator.
        model: to train.
        drawn: windows of motion.
        text: (B, TEXT) text vectors, zero for none.
        settings: of the run.
    """
    state = model.standardise(torch.from_numpy(drawn.features))
    context = draw_context(rng, model, state, drawn.valid, text, settings.shares)
    batch = len(state)
    # tau is more often in the middle, where the flow is most uncertain (Esser et al. 2024)
    tau = 1 / (1 + np.exp(-rng.normal(-0.2, 1.2, (batch, 1))))
    still = rng.random((batch, 1)) < settings.still
    tau = np.where(still, 0.0, tau).astype(np.float32)
    noise = rng.standard_normal(state.shape, dtype=np.float32) * ~still[..., None]
    at = torch.from_numpy(tau)
    noised = model.noised(state, torch.from_numpy(noise), at[..., None], context)
    return GenBatch(state, noised, at, context, torch.from_numpy(drawn.valid).float())


def gen_loss(
    model: HpstmGen, batch: GenBatch, weights: GenWeights
) -> tuple[Tensor, dict[str, float]]:
    """The training loss (scalar), and its terms."""
    out, spread = model(batch.noised, batch.tau, batch.context)
    signal, left = model.levels(batch.tau)
    if model.config.ddpm:  # the error of the noise, not that of the velocity
        left = left / signal.clamp_min(_LEAST_LEFT)
    left = left.clamp_min(_LEAST_LEFT)[..., None]
    valid = batch.valid[..., None]
    known = batch.context.seen @ model.joint_of
    share = torch.ones(STATE)
    share[:3] = weights.root
    share = valid * share * (1 - (1 - weights.observed) * known)
    error = (out - batch.state) / left
    flow = (share * error.square()).sum() / share.sum()
    truth = model.positions(batch.state)
    found = model.positions(out)
    step = (found - truth).diff(dim=1) / (_STEP_M * left[..., None])
    both = (valid[:, 1:] * valid[:, :-1])[..., None]
    velocity = (both * step.square()).sum() / (3 * J * both.sum())
    turn = step.diff(dim=1)
    all_three = both[:, 1:] * both[:, :-1]
    acceleration = (all_three * turn.square()).sum() / (3 * J * all_three.sum())
    standing = _standing(model, batch.state)
    standing = standing[:, 1:] * standing[:, :-1] * both[..., 0] * batch.tau[..., None]
    feet = found[:, :, _FEET].diff(dim=1) / (0.5 * _STEP_M)
    slide = (standing[..., None] * feet.square()).sum() / (3 * standing.sum() + 1)
    deviation = spread.reshape(truth.shape)
    residual = ((found - truth).detach() / (SIGMA_M * deviation.exp())).square()
    nll = (valid[..., None] * (0.5 * residual.clamp_max(100.0) + deviation)).sum()
    nll = nll / (3 * J * valid.sum())
    total = (
        flow
        + weights.velocity * velocity
        + weights.acceleration * acceleration
        + weights.slide * slide
        + weights.nll * nll
    )
    parts = {"flow": flow, "velocity": velocity, "acceleration": acceleration, "slide": slide}
    return total, {name: float(x.detach()) for name, x in {**parts, "nll": nll}.items()}


def _standing(model: HpstmGen, state: Tensor) -> Tensor:
    return ((state[..., -2:] * model.scale[-2:] + model.mean[-2:]) > 0.5).float()


def standardisation(windows: MotionWindows, model: HpstmGen, seed: int) -> None:
    """Set mean and scale of the model to those of the data, with a lower bound of the scale."""
    rng = np.random.default_rng(seed)
    total = torch.zeros(STATE)
    square = torch.zeros(STATE)
    count = 0.0
    with torch.no_grad():
        for _ in range(8):
            drawn = windows.draw(rng, 64)
            states = model._states(torch.from_numpy(drawn.features))[torch.from_numpy(drawn.valid)]
            total += states.sum(0)
            square += states.square().sum(0)
            count += len(states)
        mean = total / count
        scale = (square / count - mean.square()).clamp_min(0).sqrt()
        least = torch.full((STATE,), 0.1)
        least[:66] = 0.03
        scale = torch.maximum(scale, least)
        scale[:2] = _ROOT_SCALE_M
        model.mean.copy_(mean)
        model.scale.copy_(scale)


def train(
    library: MotionLibrary, data: str | Path, settings: GenSettings, folder: Path
) -> tuple[HpstmGen, dict[str, float]]:
    """Train, resuming from ``folder``; return the averaged model and its last validation.

    Raises:
        PallasError: ``settings.start`` does not contain weights of this shape.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    model = HpstmGen(settings.model)
    clips = [
        clip
        for clip in library.require("train")
        if not settings.packs or clip.pack in settings.packs
    ]
    windows = MotionWindows(library, clips, keep=True)
    if settings.start:
        start_from(model, load_model(settings.start)[0], settings.start)
    else:
        standardisation(windows, model, settings.seed)
    descriptions = Descriptions.open(data)
    captions = Captions(windows.clips, descriptions, folder / "captions.npz")
    generator = torch.Generator().manual_seed(settings.seed)
    stream = GenStream(windows, captions, model, settings, generator)
    validate = checks(library, descriptions, model, settings, folder)
    fit(
        model,
        stream,
        cast("Any", lambda m, b: gen_loss(m, b, settings.weights)),
        settings.loop,
        folder / "flow",
        cast("Any", validate),
        generator,
    )
    return model, validate(model)


def checks(
    library: MotionLibrary,
    descriptions: Descriptions,
    model: HpstmGen,
    settings: GenSettings,
    folder: Path,
) -> Any:
    """Validation: losses and forecast error on fixed windows of held-out subjects."""
    clips = library.select("validation_subjects") or library.require("validation")
    windows = MotionWindows(library, clips)
    captions = Captions(windows.clips, descriptions, folder / "captions_check.npz")
    rng = np.random.default_rng(17)
    drawn = windows.draw(rng, _CHECK_WINDOWS, mirror=0.0)
    text = captions.draw(rng, drawn.windows, 1.0)
    batch = make_batch(rng, model, drawn, text, settings)
    ahead = make_batch(rng, model, drawn, np.zeros_like(text), settings)
    ahead.context.seen = torch.zeros(len(text), FRAMES, J)
    ahead.context.seen[:, :30] = batch.valid[:, :30, None]
    ahead.context.observed = batch.state
    ahead.context.noise = torch.zeros(len(text), 1)
    ahead.context.hands = torch.zeros_like(ahead.context.hands)
    ahead.tau = torch.zeros_like(ahead.tau)
    ahead.noised = model.put(torch.zeros_like(ahead.state), ahead.context)

    def measure(net: HpstmGen) -> dict[str, float]:
        with torch.no_grad():
            _, parts = gen_loss(net, batch, settings.weights)
            out, _ = net(ahead.noised, ahead.tau, ahead.context)
            error = (net.positions(out) - net.positions(ahead.state)).norm(dim=-1).mean(-1)
            still = net.positions(ahead.state[:, 29:30]) - net.positions(ahead.state)
            best = still.norm(dim=-1).mean(-1)
        for name, frame in (("half", 44), ("one", 59)):
            valid = ahead.valid[:, frame]
            for kind, values in (("forecast", error), ("still", best)):
                figure = (valid * values[:, frame]).sum() / valid.sum()
                parts[f"{kind}_{name}_second_cm"] = 100 * float(figure)
        return {f"check_{name}": value for name, value in parts.items()}

    return measure
