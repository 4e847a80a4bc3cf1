"""`pallas train alignment`."""

import argparse
import json
from pathlib import Path

from hpstm_ros.language.encoder import TextEncoder
from hpstm_ros.train.alignment.corpus import build
from hpstm_ros.train.alignment.released import calibrate, export
from hpstm_ros.train.alignment.training import Labels, TrainingSettings, train
from hpstm_ros.train.export import document_of_run
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import resource
from pallas_ros.data.library import MotionLibrary
from pallas_ros.files.settings import settings as from_mapping
from pallas_ros.files.yaml_text import load_mapping

HELP = "train the alignment of text, motion and scene; stopped and started again it carries on"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "--config", default="config/training/alignment.yaml", help="settings of the training"
    )
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument(
        "--out",
        default="runs/alignment",
        help="folder of checkpoints, TensorBoard logs and the exported model",
    )


def run(args: argparse.Namespace) -> int:
    """Train, calibrate the scores, export."""
    settings = read_settings(resource(args.config))
    library = MotionLibrary.open(args.data)
    corpus = build(library, args.data)
    labels = Labels(TextEncoder.default().encode)
    folder = Path(args.out)
    model, figures = train(corpus, labels, settings, folder)
    training = json.loads((folder / "checkpoint.json").read_text())
    document = {
        "training": {**training, "batch": settings.batch, "seed": settings.seed},
        **document_of_run(),
        **calibrate(model, corpus, labels),
    }
    path = export(model, folder, document)
    found = ", ".join(f"{name} {value:.1f} %" for name, value in figures.items())
    print(f"{path}: {found}; measure it with `pallas eval alignment --model {path}`")
    return 0


def read_settings(path: Path) -> TrainingSettings:
    """Settings of a YAML file.

    Raises:
        PallasError: the file is not readable, or holds a key or value that is none.
    """
    settings = from_mapping(
        TrainingSettings, load_mapping(path, "file of training settings"), f"{path}"
    )
    for name, low, high in (("batch", 2, 4096), ("scenes", 2, settings.batch), ("noise", 0, 1)):
        if not low <= getattr(settings, name) <= high:
            raise PallasError(
                f"{path}: {name} is {getattr(settings, name)}, must be from {low} to {high}"
            )
    return settings
