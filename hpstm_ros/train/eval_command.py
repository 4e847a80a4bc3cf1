"""`pallas eval hpstm`."""

import argparse
import json
from pathlib import Path

from hpstm_ros.smoothing.smoother import SmootherSettings
from hpstm_ros.train import baselines
from hpstm_ros.train.evaluate import Evaluation, Row
from hpstm_ros.train.trials import trials
from pallas_ros.body.resources import resource
from pallas_ros.data.library import MotionLibrary

HELP = "measure the smoother as it streams, beside tuned classical filters on the same noise"
TUNED = "config/training/smoothing_baselines.yaml"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument("--model", default="models/hpstm.onnx", help="the network")
    parser.add_argument("--backend", default="onnxruntime", choices=("auto", "onnxruntime", "tensorrt", "torch"), help="what runs it")
    parser.add_argument("--count", type=int, default=40, help="motions a split")
    parser.add_argument(
        "--splits", nargs="+", default=["seen", "unseen"], choices=("seen", "unseen", "validation"), help="what to measure on"
    )
    parser.add_argument("--json", metavar="F", help="write every figure there too")
    parser.add_argument(
        "--tune", action="store_true", help="choose the classical filters' settings anew, on the validation split, and stop"
    )
    parser.add_argument(
        "--calibrate", action="store_true", help="write the covariance's factors, found on the validation split, into the model, and stop"
    )


def run(args: argparse.Namespace) -> int:
    """Measure."""
    library = MotionLibrary.open(args.data)
    tuned = resource(TUNED)
    if args.tune:
        baselines.save(baselines.tune(trials(library, "validation", 24, longest=240)), tuned)
        print(f"{tuned}: settings of {len(baselines.NAMES)} filters")
        return 0
    evaluation = Evaluation(library, SmootherSettings(model=args.model, backend=args.backend), tuned, args.count)
    if args.calibrate:
        return _calibrate(evaluation, args)
    for split in args.splits:
        evaluation.split(split)
        evaluation.unknown_person(split)
    evaluation.failures(args.splits[-1], max(args.count // 4, 2))
    evaluation.flicker(args.splits[-1], max(args.count // 4, 2))
    _print(evaluation.rows)
    if args.json:
        Path(args.json).write_text(json.dumps({"rows": evaluation.rows}, indent=1))
    return 0


def _calibrate(evaluation: Evaluation, args: argparse.Namespace) -> int:
    from hpstm_ros.train.export import export, load_model

    scale = evaluation.calibrate(args.count)
    path = resource(args.model)
    model, meta = load_model(path.with_suffix(".safetensors"))
    document = json.loads(meta.get("pallas", "{}"))
    export(model, path.parent, {**document, "covariance_scale": [round(s, 4) for s in scale]}, path.stem)
    print(f"{path}: covariance factors {', '.join(f'{s:.2f}' for s in scale)} for look-aheads of 0 to {len(scale) - 1} frames")
    return 0


def _print(rows: list[Row]) -> None:
    for row in rows:
        print(f"{row['name']:24s} {row['case']:44s} {row['metric']:26s} {row['value']:12.3f} {row['unit']}")
