"""`pallas train hpstm`."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from hpstm_ros.model.hpstm import HpstmConfig
from hpstm_ros.train.export import export, load_model
from hpstm_ros.train.losses import LossWeights
from hpstm_ros.train.training import Training, TrainingSettings
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import resource
from pallas_ros.data.library import MotionLibrary

HELP = "train the smoother from motion data; stopped and started again it carries on"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("--config", default="config/training/hpstm.yaml", help="settings of the training")
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument("--out", default="runs/hpstm", help="folder of checkpoints, log and the exported model")
    parser.add_argument("--minutes", type=float, help="wall-clock budget, in place of the config's")


def run(args: argparse.Namespace) -> int:
    """Train, then export."""
    settings = read_settings(resource(args.config), args.minutes)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    training = Training(MotionLibrary.open(args.data), settings, folder)
    if training.resume():
        print(f"{folder}: carrying on at {training.progress:.0%} of the budget, step {training.steps}")
    figures = training.run()
    model, _ = load_model(folder / "checkpoint.safetensors")
    path = export(model, folder, {"training": {"steps": training.steps, "minutes": settings.minutes, "seed": settings.seed}})
    errors = ", ".join(f"{name.removeprefix('val_')} frames: {value:.1f} mm" for name, value in figures.items() if name[4:].isdigit())
    print(
        f"{path}: {training.steps} steps; validation error at a look-ahead of {errors}; calibrate it with `pallas eval hpstm --calibrate --model {path}`"
    )
    return 0


def read_settings(path: Path, minutes: float | None = None) -> TrainingSettings:
    """Settings of a YAML file.

    Raises:
        PallasError: the file is not readable, or holds a key or value that is none.
    """
    try:
        document: dict[str, Any] = yaml.safe_load(path.read_text()) or {}
        unknown = set(document) - {field.name for field in fields(TrainingSettings)}
        if unknown:
            raise PallasError(f"{path}: there is no training setting '{sorted(unknown)[0]}'")
        if minutes is not None:
            document["minutes"] = minutes
        model, weights = HpstmConfig(**document.pop("model", {})), LossWeights(**document.pop("weights", {}))
        settings = TrainingSettings(**document, model=model, weights=weights)
    except (OSError, yaml.YAMLError, TypeError, AttributeError, ValueError) as error:
        raise PallasError(f"{path}: not readable as training settings: {' '.join(str(error).split())}") from None
    for name, low, high in (("minutes", 0.01, 1e5), ("batch", 3, 4096), ("rate", 1e-6, 0.1), ("known", 0.0, 1.0)):
        if not low <= getattr(settings, name) <= high:
            raise PallasError(f"{path}: {name} is {getattr(settings, name)}, but must be from {low} to {high}")
    return settings
