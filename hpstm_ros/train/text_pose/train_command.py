"""`pallas train text_pose`."""

import argparse
import json
from pathlib import Path

from hpstm_ros.generation.poses import text_inputs
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.language.encoder import TextEncoder
from hpstm_ros.train.export import document_of_run
from hpstm_ros.train.text_pose.data import SIZES, collect
from hpstm_ros.train.text_pose.released import export
from hpstm_ros.train.text_pose.training import TrainingSettings, train
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import resource
from pallas_ros.data.library import MotionLibrary
from pallas_ros.files.settings import settings as from_mapping
from pallas_ros.files.yaml_text import load_mapping

HELP = "train text to pose; stopped and started again it carries on"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "--config", default="config/training/text_pose.yaml", help="settings of the training"
    )
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument(
        "--out",
        default="runs/text_pose",
        help="folder of checkpoints, TensorBoard logs and the exported model",
    )


def run(args: argparse.Namespace) -> int:
    """Train and export."""
    settings = read_settings(resource(args.config))
    library = MotionLibrary.open(args.data)
    descriptions = Descriptions.open(args.data)
    clips = library.require("train")
    poses = collect(library, clips, descriptions, settings.size, settings.balanced, settings.seed)
    inputs = text_inputs(TextEncoder.default(), poses.texts)
    folder = Path(args.out)
    model, scale = train(poses, inputs, settings, folder)
    training = json.loads((folder / "checkpoint.json").read_text())
    document = {
        "training": {**training, "poses": len(poses.rows), "seed": settings.seed},
        "clusters": poses.centres.round(4).tolist(),
        "found": poses.share.round(4).tolist(),
        **document_of_run(),
    }
    path = export(model, scale, folder, document)
    print(
        f"{path}: {len(poses.rows)} poses; measure it with `pallas eval text_pose --model {path}`"
    )
    return 0


def read_settings(path: Path) -> TrainingSettings:
    """Settings of a YAML file.

    Raises:
        PallasError: the file is not readable, or holds a key or value that is none.
    """
    settings = from_mapping(
        TrainingSettings, load_mapping(path, "file of training settings"), f"{path}"
    )
    for name, low, high in (("batch", 2, 4096), ("size", *SIZES), ("without_text", 0, 0.9)):
        if not low <= getattr(settings, name) <= high:
            raise PallasError(
                f"{path}: {name} is {getattr(settings, name)}, must be from {low} to {high}"
            )
    return settings
