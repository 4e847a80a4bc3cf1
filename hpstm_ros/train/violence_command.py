"""`pallas train violence`: the classifier of violent motion."""

import argparse
from pathlib import Path

from safetensors.torch import save_file

from hpstm_ros.generation.guard import WINDOW
from hpstm_ros.generation.representation import FPS
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.model.violence import ViolenceStep
from hpstm_ros.train.heading_windows import Clips
from hpstm_ros.train.released import document_of_run
from hpstm_ros.train.tokens_export import load_tokens
from hpstm_ros.train.violence import (
    PACKS,
    ViolenceSettings,
    sort_clips,
    train_violence,
)
from pallas_ros.body.resources import resource
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.files.settings import settings as from_mapping
from pallas_ros.files.yaml_text import load_mapping
from pallas_ros.torch_runtime.backend import export_stream

HELP = "Train the classifier of violent motion that guards the generators."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--config", default="config/training/violence.yaml", help="training settings"
    )
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument(
        "--tokens",
        metavar="F",
        help="weights of a token generator (.safetensors), to train on its motion as well",
    )
    parser.add_argument(
        "--out", default="runs/violence", help="folder of checkpoints and the exported model"
    )


def run(args: argparse.Namespace) -> int:
    """Train, choose the threshold, export."""
    path = resource(args.config)
    settings = from_mapping(
        ViolenceSettings, load_mapping(path, "file of training settings"), f"{path}"
    )
    folder = Path(args.out)
    tokens = load_tokens(args.tokens)[0] if args.tokens else None
    library = MotionLibrary.open(args.data, alignment="bent")
    words = sort_clips(library.clips, Descriptions.open(args.data))
    training, held_out = (
        Clips.of(library, of_packs(library, *splits), WINDOW)
        for splits in (("train",), ("validation", "validation_subjects"))
    )
    model, threshold = train_violence(training, held_out, words, settings, folder, tokens)
    document = {
        "kind": "violence",
        "rate_hz": FPS,
        "threshold": threshold,
        **document_of_run(),
        "packs": list(PACKS),
    }
    save_file(dict(model.state_dict()), folder / "violence.safetensors", {"kind": "violence"})
    model_file = export_stream(ViolenceStep(model), folder / "violence.onnx", document)
    print(f"{model_file}: threshold {threshold:.3f}; `pallas eval unlearning` measures it")
    return 0


def of_packs(library: MotionLibrary, *splits: str) -> list[LibraryClip]:
    """The clips of the splits from packs with a permissive licence."""
    return [c for split in splits for c in library.select(split) if c.pack in PACKS]
