"""`pallas train alignment`."""

import argparse
import json
from pathlib import Path

from hpstm_ros.language.encoder import TextEncoder
from hpstm_ros.train.alignment.corpus import build
from hpstm_ros.train.alignment.released import calibrate, export
from hpstm_ros.train.alignment.training import Labels, TrainingSettings, train
from hpstm_ros.train.options import add_training_options, read_settings
from hpstm_ros.train.released import document_of_run
from pallas_ros.data.library import MotionLibrary

HELP = "Train the alignment of text, motion and scene; an interrupted run resumes."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_training_options(parser, "alignment")


def run(args: argparse.Namespace) -> int:
    """Train, calibrate the scores, export."""
    settings = read_settings(
        TrainingSettings, args.config, batch=(2, 4096), scenes=(2, 4096), noise=(0, 1)
    )
    library = MotionLibrary.open(args.data, alignment="bent")
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
