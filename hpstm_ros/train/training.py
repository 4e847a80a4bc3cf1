"""The training loop: a wall-clock budget, checkpoints that resume, a moving average of the weights, validation on windows drawn once."""

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from hpstm_ros.model.hpstm import Hpstm, HpstmConfig
from hpstm_ros.train.batches import Batch, WindowSampler
from hpstm_ros.train.losses import LossWeights, Truth, loss
from hpstm_ros.train.noise import NO_FAILURES
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.data.library import MotionLibrary


@dataclass(frozen=True)
class TrainingSettings:
    """Everything a run depends on; stored in its checkpoint.

    Attributes:
        minutes: wall-clock budget over all sittings; the learning rate follows it, so a slower machine does fewer steps, not a cut-off run.
        batch: windows a step.
        rate: peak learning rate.
        warm_up_steps: of the learning rate.
        spread_from: share of the budget after which the covariance is trained, over another tenth.
        stream_from: share of the budget after which batches hold triples of successive windows, so that what a stream shows is smooth.
        known: chance that the operator's bone lengths are given, and how well they are known (``bones_off``, relative).
        average: of the weights, per step.
        seed: of everything drawn.
        mixed: bfloat16 inside the Transformer.
    """

    minutes: float = 60.0
    batch: int = 64
    rate: float = 1e-3
    warm_up_steps: int = 200
    weight_decay: float = 0.01
    spread_from: float = 0.15
    stream_from: float = 0.75
    known: float = 0.7
    bones_off: float = 0.012
    average: float = 0.999
    seed: int = 1
    mixed: bool = False
    model: HpstmConfig = field(default_factory=HpstmConfig)
    weights: LossWeights = field(default_factory=LossWeights)


class Training:
    """One run, resumable from ``folder``."""

    def __init__(self, library: MotionLibrary, settings: TrainingSettings, folder: Path) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.folder = settings, folder
        self.model = Hpstm(settings.model)
        self.model.mixed = settings.mixed
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(_groups(self.model, settings), betas=(0.9, 0.98))
        self.steps, self.spent = 0, 0.0
        self.sampler = WindowSampler(library, library.select("train"), settings.seed)
        held_out = WindowSampler(library, library.select("validation"), 7, failures=NO_FAILURES, vary=False)
        self._validation = held_out.draw(192, settings.model.frames)
        self._choices = np.random.default_rng(settings.seed)

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        return min(self.spent / (60 * self.settings.minutes), 1.0)

    def run(self) -> dict[str, float]:
        """Train until the budget is spent; returns the last validation."""
        torch.set_num_threads(1)
        mean: dict[str, float] = {}
        saved = checked = time.monotonic()
        figures: dict[str, float] = {}
        with tqdm(total=round(60 * self.settings.minutes), initial=round(self.spent), unit="s", desc="hpstm", smoothing=0) as bar:
            while self.progress < 1:
                began = time.monotonic()
                terms = self._step()
                now = time.monotonic()
                self.spent += min(now - began, 5.0)  # a paused process does not spend its budget
                bar.update(round(self.spent) - bar.n)
                mean = {k: 0.98 * mean.get(k, v) + 0.02 * v for k, v in terms.items()}
                if now - checked > 60:
                    checked = now
                    figures = self.validate()
                    row = {"step": self.steps, "seconds": round(self.spent), **{k: round(v, 3) for k, v in (mean | figures).items()}}
                    tqdm.write(json.dumps(row))
                    with (self.folder / "log.jsonl").open("a") as log:
                        log.write(json.dumps(row) + "\n")
                if now - saved > 180:
                    saved = now
                    self.save()
        self.save()
        return self.validate() or figures

    def _step(self) -> dict[str, float]:
        s, triple = self.settings, self.progress >= self.settings.stream_from
        rate = s.rate * min(1.0, (self.steps + 1) / s.warm_up_steps) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if triple:
            inputs, truth = self._inputs(self.sampler.draw(s.batch // 3 + 1, s.model.frames + 2), 3)
        else:
            inputs, truth = self._inputs(self.sampler.draw(s.batch, s.model.frames), 1)
        warm = min(max((self.progress - s.spread_from) / 0.1, 0.0), 1.0)
        total, terms = loss(self.model(*inputs), truth, s.weights, warm, 3 if triple else 1)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.steps += 1
        keep = min(s.average, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - keep)
        return terms

    def _inputs(self, batch: Batch, consecutive: int, known: bool | None = None) -> tuple[tuple[Tensor, ...], Truth]:
        """A batch as the model's inputs: ``consecutive`` windows of each row, side by side; all look-aheads asked, in order of time."""
        config = self.settings.model
        frames, asked = config.frames, config.lookaheads

        def windows(x: np.ndarray[Any, Any]) -> Tensor:
            return torch.from_numpy(np.stack([x[:, k : k + frames] for k in range(consecutive)], 1).reshape(-1, frames, *x.shape[2:]))

        points, seen = windows(batch.points), windows(batch.seen).float()
        bones = torch.from_numpy(batch.bones).repeat_interleave(consecutive, 0)
        rows = len(points) // consecutive
        drawn = self._choices.random(rows) < self.settings.known if known is None else np.full(rows, known)
        flag = torch.from_numpy(drawn.astype(np.float32)).repeat_interleave(consecutive)[:, None]
        off = np.exp(self.settings.bones_off * self._choices.uniform(0, 1.5, (rows, 1)) * self._choices.standard_normal(batch.bones.shape))
        given = bones * torch.from_numpy(off.astype(np.float32)).repeat_interleave(consecutive, 0)
        ask = torch.eye(asked).flip(0).expand(len(points), asked, asked)
        matrices = rotations.to_matrix(windows(batch.rotations)[:, -asked:].numpy()).astype(np.float32)
        truth = Truth(windows(batch.truth)[:, -asked:], torch.from_numpy(matrices), bones, seen[:, -asked:])
        return (points, seen, given, flag, ask), truth

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean joint error in mm of the averaged weights by look-ahead, on unvaried validation windows with the noise of DESIGN.md."""
        model = Hpstm(self.settings.model)
        model.load_state_dict(self.average)
        model.eval()
        inputs, truth = self._inputs(self._validation, 1, known=True)
        out = model(inputs[0], inputs[1], truth.bones, *inputs[3:])
        error = 1e3 * (out.positions - truth.positions).norm(dim=-1).mean((0, 2)).flip(0)
        free = 1e3 * (out.free - truth.positions).norm(dim=-1).mean((0, 2)).flip(0)
        return {f"val_{n}": float(error[n]) for n in (0, 2, 5, 10)} | {"val_free_0": float(free[0])}

    def save(self) -> None:
        """Write the checkpoint whole: weights, averages, moments and counters, as safetensors."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()} | {f"average.{k}": v for k, v in self.average.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"moment.{index}.{k}": v for k, v in state.items()}
        tensors = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
        meta = {"settings": json.dumps(asdict(self.settings)), "steps": str(self.steps), "spent": str(self.spent)}
        temporary = self.folder / ".checkpoint.tmp"
        save_file(tensors, temporary, metadata=meta)
        temporary.replace(self.folder / "checkpoint.safetensors")

    def resume(self) -> bool:
        """Carry on from the folder's checkpoint; False where there is none."""
        path = self.folder / "checkpoint.safetensors"
        if not path.is_file():
            return False
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            meta = file.metadata()
        if json.loads(meta["settings"])["model"] != asdict(self.settings.model):
            raise PallasError(f"{path}: was made with other model settings; give another folder or the same settings")
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        self.average = {k[8:]: v for k, v in tensors.items() if k.startswith("average.")}
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("moment."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.steps, self.spent = int(meta["steps"]), float(meta["spent"])
        self.sampler.rng = np.random.default_rng((self.settings.seed, self.steps))
        return True


def _groups(model: Hpstm, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Weight matrices decay; biases, norms, embeddings and the linear kernels do not."""
    decay = [p for n, p in model.named_parameters() if p.dim() == 2 and "." in n]
    rest = [p for n, p in model.named_parameters() if not (p.dim() == 2 and "." in n)]
    return [{"params": decay, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]
