"""`pallas train hpstm_gen`."""

import argparse
import json
from pathlib import Path

from hpstm_ros.train.generator import GenSettings, train
from hpstm_ros.train.generator_export import export
from hpstm_ros.train.options import read_settings
from pallas_ros.data.library import MotionLibrary
from pallas_ros.motion_files import add_options, overrides_from

HELP = "Train the motion generator; an interrupted run resumes."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--config", default="config/training/hpstm_gen.yaml", help="training settings"
    )
    parser.add_argument(
        "--data", default="../shared/data", help="folder of the motion packs, or of motion files"
    )
    add_options(parser)
    parser.add_argument(
        "--out", default="runs/hpstm_gen", help="folder of checkpoints, logs and the exported model"
    )


def run(args: argparse.Namespace) -> int:
    """Train and export."""
    settings = read_settings(GenSettings, args.config, batch=(1, 4096), still=(0, 1))
    folder = Path(args.out)
    library = MotionLibrary.open(args.data, overrides=overrides_from(args), alignment="bent")
    model, figures = train(library, args.data, settings, folder)
    history = folder / "flow" / "checkpoint.json"
    path = export(model, folder, {"training": json.loads(history.read_text())})
    listed = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
    print(f"{path}: {listed}; measure it with `pallas eval hpstm_gen --model {path}`")
    return 0
