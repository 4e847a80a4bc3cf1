"""`pallas train text_pose`."""

import argparse
import json
from pathlib import Path

from hpstm_ros.generation.poses import text_inputs
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.language.encoder import TextEncoder
from hpstm_ros.train.options import add_training_options, read_settings
from hpstm_ros.train.released import document_of_run
from hpstm_ros.train.text_pose.data import SIZES, collect
from hpstm_ros.train.text_pose.released import export
from hpstm_ros.train.text_pose.training import TrainingSettings, train
from pallas_ros.data.library import MotionLibrary

HELP = "Train the text-to-pose model; an interrupted run resumes."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_training_options(parser, "text_pose")


def run(args: argparse.Namespace) -> int:
    """Train and export."""
    settings = read_settings(
        TrainingSettings, args.config, batch=(2, 4096), size=SIZES, without_text=(0, 0.9)
    )
    library = MotionLibrary.open(args.data, alignment="bent")
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
