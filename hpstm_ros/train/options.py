"""Options shared by the training commands, and settings read from a validated YAML file."""

import argparse
from pathlib import Path
from typing import TypeVar

from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import resource
from pallas_ros.files.settings import settings as from_mapping
from pallas_ros.files.yaml_text import load_mapping

T = TypeVar("T")


def add_training_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Add ``--config``, ``--data`` and ``--out`` for the training of a model."""
    parser.add_argument(
        "--config", default=f"config/training/{name}.yaml", help="training settings"
    )
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument(
        "--out",
        default=f"runs/{name}",
        help="folder of checkpoints, TensorBoard logs and the exported model",
    )


def read_settings(kind: type[T], path: str | Path, **ranges: tuple[float, float]) -> T:
    """Settings of a YAML file.

    Args:
        kind: a dataclass.
        path: relative to the package's share folder if it does not exist in the working directory.
        ranges: minimum and maximum of some of the values.

    Raises:
        PallasError: the file is not readable, or contains an unknown key or an invalid value.
    """
    path = resource(path)
    settings = from_mapping(kind, load_mapping(path, "file of training settings"), f"{path}")
    for name, (low, high) in ranges.items():
        if not low <= getattr(settings, name) <= high:
            raise PallasError(
                f"{path}: {name} is {getattr(settings, name)}, must be from {low} to {high}"
            )
    return settings
