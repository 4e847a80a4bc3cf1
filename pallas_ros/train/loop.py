"""The training loop: AdamW, cosine schedule, exponential moving average of the weights, resumable
checkpoints, TensorBoard.

A checkpoint consists of ``checkpoint.safetensors`` (weights, their average, moments of the
optimiser, states of the random generators) and ``checkpoint.json``. Under ``torchrun``, gradients
are averaged over the processes, each of which draws its own batches; the first process decides when
to stop, validates and writes. Mixed precision is used on hardware with fast bfloat16.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from pallas_ros.body.errors import PallasError
from pallas_ros.files.settings import check_ranges
from pallas_ros.train import processes

Loss = Callable[[nn.Module, Any], tuple[Tensor, dict[str, float]]]
Validate = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class LoopSettings:
    """Settings of the training loop.

    Attributes:
        steps: number of steps, at least 1; the schedule extends over them.
        minutes: maximum duration (0: unlimited); the schedule then ends with whichever limit is
            reached first.
        learning_rate: peak value.
        warm_up: steps of the linear increase.
        weight_decay: of AdamW.
        clip: maximum norm of the gradient.
        average: decay of the moving average of the weights.
        validate_every: steps between validations.
        seed: of weights and data.

    Raises:
        ValueError: a setting is out of range.
    """

    steps: int = 4000
    minutes: float = 0.0
    learning_rate: float = 1.5e-3
    warm_up: int = 200
    weight_decay: float = 0.02
    clip: float = 1.0
    average: float = 0.998
    validate_every: int = 250
    seed: int = 0

    min_steps: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(
            self,
            steps=(self.min_steps, 1e9),
            minutes=(0, 1e6),
            learning_rate=(1e-9, 1),
            warm_up=(1, 1e9),
            weight_decay=(0, 10),
            clip=(1e-9, 1e9),
            average=(0, 0.999999),
            validate_every=(1, 1e9),
            seed=(0, 1e9),
        )


def device() -> torch.device:
    """The GPU of this process if there is one, else the CPU."""
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def fast_bfloat16() -> bool:
    """Whether mixed precision is faster: on GPUs, and on CPUs with matrix tiles (AMX)."""
    return torch.cuda.is_available() or bool(torch.cpu._is_amx_tile_supported())


class Run:
    """One training run in a folder: model, averaged model, optimiser, step."""

    def __init__(self, model: nn.Module, settings: LoopSettings, folder: Path) -> None:
        self.model = model
        self.settings = settings
        self.folder = folder
        self.average = {name: p.detach().clone() for name, p in model.named_parameters()}
        decayed = [p for p in model.parameters() if p.dim() > 1]
        others = [p for p in model.parameters() if p.dim() <= 1]
        groups = [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))
        self.step = 0
        self.seconds = 0.0

    @property
    def progress(self) -> float:
        """Completed fraction of the run, 0 to 1."""
        s = self.settings
        return max(self.step / s.steps, self.seconds / (60 * s.minutes) if s.minutes else 0.0)

    def learning_rate(self) -> float:
        """Current learning rate: linear increase, then cosine decay to 2 %."""
        s = self.settings
        return (
            s.learning_rate
            * min(1.0, (self.step + 1) / s.warm_up)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(self.progress, 1.0))))
        )

    def update(self, loss: Tensor) -> float:
        """Take one optimiser step, and return the norm of the gradient.

        The step is skipped if the gradient is not finite.
        """
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        processes.average(p.grad for p in self.model.parameters() if p.grad is not None)
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip))
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        if math.isfinite(norm):
            self.optimiser.step()
        self.step += 1
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                self.average[name].lerp_(p, 1 - decay)
        return norm

    def averaged(self, do: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
        """Call ``do`` with the model with averaged weights, in evaluation mode."""
        own = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self._put(self.average)
        self.model.eval()
        try:
            with torch.no_grad():
                return do(self.model)
        finally:
            self._put(own)
            self.model.train()

    def _put(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(weights[name])

    def save(self, generator: torch.Generator | None) -> None:
        """Write the checkpoint atomically; every process has to call this, the first one writes."""
        states = [] if generator is None else processes.all_gather(generator.get_state())
        if processes.rank() != 0:
            return
        tensors = {f"model.{n}": p.detach() for n, p in self.model.named_parameters()}
        tensors |= {f"average.{n}": p for n, p in self.average.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {
                f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in state.items()
            }
        tensors |= {_generator_key(rank): state for rank, state in enumerate(states)}
        self.folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {k: v.contiguous().clone() for k, v in tensors.items()},
            self.folder / "checkpoint.tmp",
            metadata={"step": str(self.step), "seconds": str(self.seconds)},
        )
        os.replace(self.folder / "checkpoint.tmp", self.folder / "checkpoint.safetensors")
        (self.folder / "checkpoint.json").write_text(
            json.dumps({"step": self.step, "seconds": round(self.seconds, 1)})
        )

    def resume(self, generator: torch.Generator | None) -> bool:
        """Continue from the checkpoint in the folder, if there is one.

        Raises:
            PallasError: the checkpoint is damaged or belongs to another network.
        """
        path = self.folder / "checkpoint.safetensors"
        if not path.is_file():
            return False
        try:
            tensors = load_file(path)
            where = json.loads((self.folder / "checkpoint.json").read_text())
            self._put({n: tensors[f"model.{n}"] for n, _ in self.model.named_parameters()})
            self.average = {
                n: tensors[f"average.{n}"].to(p.device) for n, p in self.model.named_parameters()
            }
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in tensors.items():
                if name.startswith("optimiser."):
                    _, index, key = name.split(".")
                    state.setdefault(int(index), {})[key] = tensor
            self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
            own = _generator_key(processes.rank())
            # a process that was not there before has no state, and starts with its own seed
            if generator is not None and (processes.rank() == 0 or own in tensors):
                generator.set_state(tensors[own])
            self.step = int(where["step"])
            self.seconds = float(where["seconds"])
        except (SafetensorError, KeyError, RuntimeError, ValueError, OSError) as error:
            raise PallasError(
                f"{path}: cannot resume from this checkpoint ({str(error).splitlines()[0]}); give"
                " another --out, or remove it"
            ) from None
        return True


def _generator_key(rank: int) -> str:
    """Name of the state of a process's generator in the checkpoint."""
    return f"generator.{rank}" if rank else "generator"


def fit(
    model: nn.Module,
    batches: Iterator[Any],
    loss: Loss,
    settings: LoopSettings,
    folder: str | Path,
    validate: Validate | None = None,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """Train a model; return it with averaged weights, in evaluation mode.

    Args:
        model: on its device.
        batches: infinite iterator of batches.
        loss: called as ``loss(model, batch)``, returns the loss and figures to log.
        settings: of the loop.
        folder: for checkpoints, TensorBoard and ``history.jsonl`` (the learning curve); training
            resumes if it contains a checkpoint.
        validate: returns figures to log, called every ``validate_every`` steps with the averaged
            weights.
        generator: random generator of the batches, stored in the checkpoint so that a resumed run
            continues its sequence. Under ``torchrun``, each process needs another seed.
    """
    processes.require_joined()
    folder = Path(folder)
    first = processes.rank() == 0
    processes.broadcast(model.parameters())
    run = Run(model, settings, folder)
    if run.resume(generator) and first:
        print(f"resumed {folder} at step {run.step}, {run.seconds / 60:.1f} min")
    writer = SummaryWriter(str(folder / "tensorboard")) if first else None
    model.train()
    last = time.monotonic()
    with tqdm(
        total=settings.steps,
        initial=run.step,
        desc=folder.name,
        unit=" steps",
        mininterval=10.0,
        disable=not first,
    ) as bar:
        while run.progress < 1.0:
            value, figures = loss(model, next(batches))
            norm = run.update(value)
            current = float(value.detach())
            now = time.monotonic()
            # time in which the machine was suspended does not count
            run.seconds = processes.broadcast_value(run.seconds + min(now - last, 60.0))
            last = now
            bar.update()
            bar.set_postfix(loss=f"{current:.4f}", done=f"{100 * run.progress:.0f}%", refresh=False)
            if writer and run.step % 20 == 0:
                rate = run.learning_rate()
                logged = {"loss": current, "gradient": norm, "learning_rate": rate, **figures}
                for name, figure in logged.items():
                    writer.add_scalar(f"train/{name}", figure, run.step)
            if run.step % settings.validate_every == 0 or run.progress >= 1.0:
                if writer:
                    _report(run, validate, writer, current, figures)
                run.save(generator)
    if writer:
        writer.close()
    run._put(run.average)
    return model.eval()


def _report(
    run: Run,
    validate: Validate | None,
    writer: SummaryWriter,
    loss: float,
    figures: dict[str, float],
) -> None:
    """Validate and log."""
    measured = run.averaged(validate) if validate else {}
    for name, figure in measured.items():
        writer.add_scalar(f"validation/{name}", figure, run.step)
    row = {"step": run.step, "minutes": round(run.seconds / 60, 2), "loss": round(loss, 5)}
    row |= {k: round(v, 4) for k, v in {**figures, **measured}.items()}
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / "history.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    tqdm.write(json.dumps(row))
