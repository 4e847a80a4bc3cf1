"""`pallas eval hpstm`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hpstm_ros.smoothing import tuned
from hpstm_ros.smoothing.smoother import SmootherSettings
from hpstm_ros.train import baselines
from hpstm_ros.train.evaluate import Evaluation, Row
from hpstm_ros.train.export import export, load_model
from hpstm_ros.train.trials import require, trials
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.body.resources import resource
from pallas_ros.data.library import MotionLibrary
from pallas_ros.files.json_output import check_json, write_json
from pallas_ros.motion_files import add_options, overrides_from

HELP = "Evaluate the streaming smoother and tuned classical filters with equal noise."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--data",
        default="../shared/data",
        help="folder of the motion packs, or of motion files (BVH, AMASS and others)",
    )
    add_options(parser)
    parser.add_argument("--model", default="models/hpstm.onnx", help="the network")
    parser.add_argument(
        "--backend",
        default="onnxruntime",
        choices=("auto", "onnxruntime", "tensorrt", "torch"),
        help="inference backend",
    )
    parser.add_argument("--count", type=int, default=40, help="motions per split")
    parser.add_argument(
        "--seconds",
        type=float,
        default=8.0,
        help="length of the stretch taken from a longer motion (at least 2)",
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["unseen_subjects", "seen", "unseen"],
        choices=("unseen_subjects", "seen", "unseen", "validation", "validation_subjects"),
        help="splits to measure on",
    )
    parser.add_argument("--json", metavar="F", help="also write every figure there")
    parser.add_argument(
        "--beside",
        nargs="*",
        metavar="NAME=MODEL",
        help=(
            "further networks to measure, .onnx or .safetensors, as row name and file (default:"
            " the ablations beside the model, if any)"
        ),
    )
    parser.add_argument(
        "--tune",
        nargs="*",
        metavar="FILTER",
        help=(
            "tune the settings of all or the named classical filters on the validation split, and"
            " exit"
        ),
    )


def run(args: argparse.Namespace) -> int:
    """Run the evaluation, and print or write the figures.

    Raises:
        PallasError: an input is missing or invalid.
    """
    check_json(args.json)
    library = MotionLibrary.open(args.data, overrides=overrides_from(args))
    if args.tune is not None:
        return _tune(library, args.tune or baselines.NAMES)
    if args.count < 1:
        raise PallasError(f"--count {args.count}: give at least 1 motion per split")
    for split in args.splits:
        require(library, split)
    evaluation = Evaluation(
        library,
        SmootherSettings(model=args.model, backend=args.backend),
        args.count,
        longest=_frames(args.seconds),
    )
    with TemporaryDirectory() as folder:
        others = [
            _beside(text, library, args, Path(folder))
            for text in (_ablations(args.model) if args.beside is None else args.beside)
        ]
    for split in args.splits:
        evaluation.baselines(split)
        for each in (evaluation, *others):
            each.split(split)
        evaluation.unknown_person(split)
    evaluation.failures(args.splits[-1], max(args.count // 4, 2))
    evaluation.flicker(args.splits[-1], max(args.count // 4, 2))
    evaluation.rows += [row for other in others for row in other.rows]
    _print(evaluation.rows)
    if args.json:
        write_json({"rows": evaluation.rows}, args.json)
    return 0


def _frames(seconds: float) -> int:
    if not seconds >= 2:
        raise PallasError(
            f"--seconds {seconds:g}: give at least 2, so that every method has settled"
        )
    return round(seconds * MODEL_RATE_HZ)


def _tune(library: MotionLibrary, names: Sequence[str]) -> int:
    unknown = set(names) - set(baselines.NAMES)
    if unknown:
        raise PallasError(
            f"unknown filter '{sorted(unknown)[0]}': known are {', '.join(baselines.NAMES)}"
        )
    path = resource(tuned.FILE)
    clips = trials(library, "validation", 24, longest=240)
    for name in names:
        baselines.save({name: baselines.tune(name, clips)}, path)
    print(f"{path}: settings of {len(names)} filters")
    return 0


def _ablations(model: str) -> list[str]:
    """Default of `--beside`."""
    return [
        f"ablation_{path.stem}={path}"
        for path in sorted((resource(model).parent / "ablations" / "hpstm").glob("*.safetensors"))
    ]


def _beside(
    text: str, library: MotionLibrary, args: argparse.Namespace, folder: Path
) -> Evaluation:
    """Evaluate another network; weights are first exported to ``folder``, since exported models are
    evaluated.
    """
    name, _, model = text.partition("=")
    if not model:
        raise PallasError(
            f"--beside {text}: give a name and a model file, as in"
            " no_manifold=runs/no_manifold/hpstm.onnx"
        )
    if model.endswith(".safetensors"):
        model = str(export(load_model(model)[0], folder, {}, name))
    return Evaluation(
        library,
        SmootherSettings(model=model, backend=args.backend),
        args.count,
        name,
        calibrated=False,
        longest=_frames(args.seconds),
    )


def _interval(row: Row) -> str:
    return f" [{row['low']:.3f}, {row['high']:.3f}]" if "low" in row else ""


def _print(rows: list[Row]) -> None:
    for row in rows:
        print(
            f"{row['name']:24s} {row['case']:44s} {row['metric']:26s} {row['value']:12.3f}"
            f" {row['unit']:6s}{_interval(row)}"
        )
