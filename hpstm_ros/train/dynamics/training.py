"""Training of HDyS, with equal numbers of windows of all domains."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpstm_ros.model.hdys import (
    Hdys,
    HdysSettings,
    HdysStep,
    LossSettings,
    Scale,
    losses,
)
from hpstm_ros.train.dynamics.data import Domain
from pallas_ros.train.loop import LoopSettings, fit

F32 = NDArray[np.float32]

DOMAINS = ("rigid_body", "measured", "simulated")
_WINDOW_STEPS = {"rigid_body": 8, "measured": 1, "simulated": 4}
"""Frames between windows; in domain 1, windows are separate blocks of eight frames."""
_FLOOR = {"keypoints": 0.05, "markers": 0.05, "angles": 0.02, "rajagopal": 0.02}
"""Minimum standard deviation of a feature, in its own unit."""


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training run.

    Attributes:
        minutes: of CMU motion with computed forces, equal for all subjects.
        simulated_minutes: of this motion, followed by a simulated person.
        share: of the windows of each domain that are used.
        batch: windows per step, in equal shares of the domains.
        encoders: representations per step: keypoints and random others.
        domains: used ones of `DOMAINS`.
        seed: of weights and data.
        model: shape of the network.
        loss: weights of the loss.
        loop: settings of the training loop.
    """

    minutes: float = 15.0
    simulated_minutes: float = 6.0
    share: float = 1.0
    batch: int = 16
    encoders: int = 2
    domains: tuple[str, ...] = DOMAINS
    seed: int = 1
    model: HdysSettings = field(default_factory=HdysSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(steps=2000, learning_rate=1e-3, validate_every=100)
    )


@dataclass
class Batch:
    """Windows of each domain: representation or kind -> (B, T, ...)."""

    motion: list[dict[str, Tensor]]
    dynamics: list[dict[str, Tensor]]


def scale_of(domains: Sequence[Domain], settings: HdysSettings) -> Scale:
    """Means and standard deviations, per value for features and per kind for forces, so that the L1
    error is in physical units and a wrist has less weight than a hip.
    """
    scale = Scale(settings)
    for name in (*dict(settings.points), *dict(settings.vectors)):
        rows = np.concatenate([domain.motion[name][domain.good] for domain in domains])
        deviation = np.maximum(rows.std(axis=0), _FLOOR[name])
        scale.put(name, torch.from_numpy(rows.mean(axis=0)), torch.from_numpy(deviation))
    for name, size in settings.kinds:
        known = [d.dynamics[name][d.good] for d in domains if name in d.dynamics]
        if not known:
            continue
        values = np.concatenate(known)
        deviation = np.full(size, np.nanstd(values))
        if name == "ground":  # forces and places have different units
            places = np.arange(size) % 5 >= 3
            for part in (places, ~places):
                deviation[part] = np.nanstd(values[:, part])
        mean = np.nan_to_num(np.nanmean(values, axis=0))
        scale.put(name, torch.from_numpy(mean), torch.from_numpy(deviation.astype(np.float32)))
    return scale


class Standard:
    """The windows of a domain, standardised."""

    def __init__(self, domain: Domain, scale: Scale, frames: int, step: int, share: float) -> None:
        def rows(name: str, values: F32) -> Tensor:
            mean, deviation = scale[name]
            return (torch.from_numpy(values) - mean) / deviation

        self.motion = {
            name: rows(name, values).clamp(-8.0, 8.0) for name, values in domain.motion.items()
        }
        self.dynamics = {name: rows(name, values) for name, values in domain.dynamics.items()}
        starts = domain.windows(frames, step)
        kept = domain.clip[starts] % 100 < 100 * share
        self.starts = starts[kept]
        self.frames = frames

    def take(self, starts: NDArray[np.intp], names: Sequence[str]) -> tuple[Any, Any]:
        """Windows (B, T, ...) starting at ``starts`` (B,), in the representations ``names``, and
        their forces.
        """
        index = torch.from_numpy(starts[:, None] + np.arange(self.frames))
        motion = {name: self.motion[name][index] for name in names}
        return motion, {name: values[index] for name, values in self.dynamics.items()}


class Stream(Iterator[Batch]):
    """Infinite iterator of batches; all random numbers come from ``generator``."""

    def __init__(
        self, domains: Sequence[Standard], settings: TrainingSettings, generator: torch.Generator
    ) -> None:
        self._domains = domains
        self._settings = settings
        self._generator = generator
        self._others = [name for name in domains[0].motion if name != "keypoints"]

    def __next__(self) -> Batch:
        """The next batch."""
        s = self._settings
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=self._generator)))
        batch = Batch([], [])
        for domain in self._domains:
            starts = rng.choice(domain.starts, s.batch // len(self._domains))
            others = rng.permutation(self._others)[: s.encoders - 1]
            motion, dynamics = domain.take(starts, ("keypoints", *others.tolist()))
            batch.motion.append(motion)
            batch.dynamics.append(dynamics)
        return batch


def loss(model: Hdys, batch: Batch, settings: LossSettings) -> tuple[Tensor, dict[str, float]]:
    """Mean loss (scalar) of the domains in a batch, and its terms."""
    found = [
        losses(model, motion, dynamics, settings)
        for motion, dynamics in zip(batch.motion, batch.dynamics)
    ]
    figures: dict[str, float] = {}
    for number, (_, each) in enumerate(found):
        figures |= {f"{name}_{number}": value for name, value in each.items()}
    return torch.stack([value for value, _ in found]).mean(), figures


def estimate(step: HdysStep, domain: Domain, name: str, frames: int) -> dict[str, F32]:
    """All kinds of dynamics (W T, size), in physical units, for the windows of a domain in one
    representation.
    """
    model = step.model
    starts = domain.windows(frames, frames)
    parts: dict[str, list[F32]] = {}
    with torch.no_grad():
        for first in range(0, len(starts), 256):
            index = starts[first : first + 256, None] + np.arange(frames)
            rows = step.scale.standard(name, torch.from_numpy(domain.motion[name][index]))
            for kind, values in model.decode(model.encode(name, rows)).items():
                found = step.scale.physical(kind, values).flatten(0, 1)
                parts.setdefault(kind, []).append(found.numpy())
    return {kind: np.concatenate(values) for kind, values in parts.items()}


def mpje(found: F32, truth: F32) -> F32:
    """Mean error per joint (N,) Nm/kg of moments (N, 63), over joints with a known reference."""
    away = (found - truth).reshape(len(found), -1, 3)
    return np.asarray(np.nanmean(np.linalg.norm(away, axis=-1), axis=-1))


def validation(step: HdysStep, domains: Mapping[str, Domain]) -> dict[str, float]:
    """Validation errors for keypoints, by domain."""
    figures = {}
    frames = step.model.settings.window
    for name, domain in domains.items():
        found = estimate(step, domain, "keypoints", frames)
        index = (domain.windows(frames, frames)[:, None] + np.arange(frames)).reshape(-1)
        if "torque" in domain.dynamics:
            figures[f"{name}_mpje"] = float(
                mpje(found["torque"], domain.dynamics["torque"][index]).mean()
            )
        if "measured" in domain.dynamics:
            away = np.abs(found["measured"] - domain.dynamics["measured"][index])
            figures[f"{name}_moment"] = float(np.nanmean(away))
        ground = np.abs(found["ground"] - domain.dynamics["ground"][index]).reshape(-1, 2, 5)
        figures[f"{name}_force"] = float(np.nanmean(ground[..., 2]))
    return figures


def take_over(step: HdysStep, start: Mapping[str, Tensor]) -> None:
    """Copy the released tensors with matching names and shapes into ``step``."""
    own = step.state_dict()
    fitting = {
        name: value
        for name, value in start.items()
        if name in own and value.shape == own[name].shape
    }
    step.load_state_dict(fitting, strict=False)


def train(
    domains: Mapping[str, Domain],
    checked: Mapping[str, Domain],
    settings: TrainingSettings,
    folder: Path,
    start: Mapping[str, Tensor] | None = None,
) -> HdysStep:
    """Train, resuming from ``folder``; return the averaged model and its scale.

    Args:
        domains: training domains by name; those of the settings are used.
        checked: validation domains.
        settings: of the run.
        folder: of checkpoints.
        start: released weights to start from, if their shapes match, and their scale.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    used = [domains[name] for name in settings.domains]
    model = Hdys(settings.model)
    scale = scale_of(used, settings.model)
    if start:
        take_over(HdysStep(model, scale), start)
    frames = settings.model.window
    steps = [_WINDOW_STEPS[domain.name] for domain in used]
    standard = [
        Standard(domain, scale, frames, step, settings.share) for domain, step in zip(used, steps)
    ]
    generator = torch.Generator().manual_seed(settings.seed)
    step = HdysStep(model, scale)
    fit(
        model,
        Stream(standard, settings, generator),
        cast("Any", lambda m, batch: loss(m, batch, settings.loss)),
        settings.loop,
        folder,
        lambda _: validation(step, checked),
        generator,
    )
    return step
