"""`pallas train hpstm`."""

import argparse
import json
from pathlib import Path

from hpstm_ros.train.calibration import calibrate
from hpstm_ros.train.export import export, load_model
from hpstm_ros.train.options import read_settings
from hpstm_ros.train.training import TrainingSettings, train, training_clips
from pallas_ros.data.library import MotionLibrary
from pallas_ros.data.licences import licence_in, licence_of, stricter
from pallas_ros.motion_files import add_options, overrides_from
from pallas_ros.train import processes

HELP = "Train the smoother from motion data; an interrupted run resumes."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--config", default="config/training/hpstm.yaml", help="training settings")
    parser.add_argument(
        "--data",
        default="../shared/data",
        help="folder of the motion packs, or of motion files (BVH, AMASS and others)",
    )
    add_options(parser)
    parser.add_argument(
        "--out",
        default="runs/hpstm",
        help="folder of checkpoints, TensorBoard logs and the exported model",
    )


def training_settings(path: str | Path) -> TrainingSettings:
    """The settings of a YAML file.

    Raises:
        PallasError: the file cannot be read, has an unknown key, or a value is out of range.
    """
    return read_settings(
        TrainingSettings,
        path,
        batch=(3, 4096),
        asked=(1, 11),
        known=(0.0, 1.0),
        bones_off=(0.0, 0.2),
        body_share=(0.0, 1.0),
    )


def run(args: argparse.Namespace) -> int:
    """Train, calibrate the covariance on motions kept out of the training, export."""
    settings = training_settings(args.config)
    folder = Path(args.out)
    library = MotionLibrary.open(args.data, overrides=overrides_from(args))
    model, figures = train(library, settings, folder)
    if processes.rank() != 0:  # the first process of torchrun writes
        return 0
    done = {
        run.parent.name: json.loads(run.read_text())
        for run in sorted(folder.glob("*/checkpoint.json"))
    }
    packs = sorted({clip.pack for clip in training_clips(library, settings.packs)})
    training = {
        "runs": done,
        "batch": settings.batch,
        "seed": settings.seed,
        "start": Path(settings.start).name if settings.start else "",
        "packs": packs,
    }
    licence = licence_of(packs)
    if settings.start:
        licence = stricter(licence, licence_in(load_model(settings.start)[1]))
    document = {
        "training": training,
        "licence": licence,
        **calibrate(model, library).document(),
    }
    path = export(model, folder, document)
    errors = ", ".join(
        f"{name.replace('_', ' ')} frames {value:.1f}" for name, value in figures.items()
    )
    print(
        f"{path}: error in mm by look-ahead: {errors}; measure it with `pallas eval hpstm --model"
        f" {path}`"
    )
    return 0
