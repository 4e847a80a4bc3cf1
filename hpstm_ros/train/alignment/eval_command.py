"""`pallas eval alignment`."""

import argparse
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from hpstm_ros.language.alignment.aligner import Aligner
from hpstm_ros.language.alignment.movement import movement, windows
from hpstm_ros.language.encoder import TextEncoder
from hpstm_ros.train.alignment.corpus import build
from hpstm_ros.train.alignment.evaluate import bag_of_words, rows_of
from hpstm_ros.train.alignment.released import load_model
from hpstm_ros.train.alignment.training import Labels
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import resource
from pallas_ros.data.library import MotionLibrary
from pallas_ros.files.json_output import check_json, write_json

HELP = "Evaluate the alignment model: retrieval in pools of 32, left and right, corrupted scenes."
_TIMED_S = 120.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument(
        "--model",
        default="models/alignment.onnx",
        help="the network; its .safetensors must be beside it",
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["unseen_subjects"],
        choices=("unseen_subjects", "seen", "unseen", "validation", "validation_subjects"),
        help="splits to measure on",
    )
    parser.add_argument("--json", metavar="F", help="also write every figure there")
    parser.add_argument(
        "--beside",
        nargs="*",
        metavar="NAME=WEIGHTS",
        help="further weights to measure (default: the ablations beside the model, if any)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the evaluation, and print or write the figures.

    Raises:
        PallasError: an input is missing or invalid.
    """
    check_json(args.json)
    path = resource(args.model)
    compared = {"alignment": path.with_suffix(".safetensors")}
    for text in _ablations(path) if args.beside is None else args.beside:
        name, _, weights = text.partition("=")
        if not weights:
            raise PallasError(f"--beside {text[:80]}: give a name and weights, as NAME=WEIGHTS")
        compared[name] = Path(weights)
    library = MotionLibrary.open(args.data, alignment="bent")
    corpus = build(library, args.data)
    labels = Labels(TextEncoder.default().encode)
    rows: list[dict[str, Any]] = []
    for split in args.splits:
        for name, weights in compared.items():
            model, document = load_model(weights)
            rows += rows_of(name, model, document, corpus, labels, split)
        rows += bag_of_words(corpus, split)
    rows.append(_speed(library, path))
    for row in rows:
        span = f"  ({row['low']:.1f} to {row['high']:.1f})" if "low" in row else ""
        print(
            f"{row['name']:22s} {row['case']:20s} {row['metric']:42s}"
            f" {row['value']:8.2f} {row['unit']}{span}"
        )
    if args.json:
        write_json({"rows": rows}, args.json)
    return 0


def _ablations(path: Path) -> list[str]:
    folder = path.parent / "ablations" / "alignment"
    return [f"ablation_{file.stem}={file}" for file in sorted(folder.glob("*.safetensors"))]


def _speed(library: MotionLibrary, path: Path) -> dict[str, Any]:
    """Speed of indexing motion, in CPU time of one thread, without file reading."""
    clip = max(library.select("unseen_subjects"), key=lambda c: c.seconds)
    motion = library.motion(clip)
    aligner = Aligner(path)
    begun = process_time()
    seconds = 0.0
    while seconds < _TIMED_S:
        moved = movement(motion)
        for length in (40, 20):
            aligner.movements(moved, windows(len(moved), length))
        seconds += motion.duration
    speed = seconds / (process_time() - begun)
    return {
        "name": "alignment",
        "case": "onnxruntime",
        "metric": "index_times_real_time",
        "value": float(np.round(speed, 1)),
        "unit": "x",
    }
