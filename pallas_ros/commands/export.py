"""`pallas export`: convert trained weights to a model file for every backend."""

import argparse
import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pallas_ros.body.errors import PallasError
from pallas_ros.files.json_text import parse_json
from pallas_ros.files.overwriting import check_outputs
from pallas_ros.files.revision import revision
from pallas_ros.files.weights import weights_metadata
from pallas_ros.runtime import open_stream
from pallas_ros.runtime.model_file import ModelFile

HELP = "Write trained weights as a model file (.onnx) that streams on every backend."
EXAMPLE = """\
  pallas export models/pallas.safetensors                  writes models/pallas.onnx
  pallas export out/run/weights.safetensors tuned.onnx
      run it with: pallas up model:=tuned.onnx"""

GROUP = "pallas.export"
Exporter = Callable[[Path, Path, str], Path]
"""A function of the group: takes weights, output file and git revision; returns the file."""

_FRAMES = 200
_LIMIT = 1e-4


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("weights", type=Path, help="trained weights (.safetensors)")
    parser.add_argument(
        "out",
        type=Path,
        nargs="?",
        help="model file to write (default: beside the weights, ending in .onnx)",
    )
    parser.add_argument("--kind", help="kind of network (default: as stated in the weights)")


def run(args: argparse.Namespace) -> int:
    """Export, then compare the output with the weights, frame by frame.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    exporters = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    kind = args.kind or kind_of(args.weights)
    if kind not in exporters:
        raise PallasError(
            f"{args.weights}: weights of kind '{kind}' cannot be exported; give --kind, one of"
            f" {', '.join(sorted(exporters))}"
        )
    out = args.out or args.weights.with_suffix(".onnx")
    if out.suffix != ".onnx" or not out.absolute().parent.is_dir():
        raise PallasError(f"{out}: give a file name that ends in .onnx, in a folder that exists")
    check_outputs([out], [args.weights])
    print(f"exporting {args.weights} ({kind}); this takes a few seconds", flush=True)
    try:
        exporter: Exporter = exporters[kind].load()
    except ImportError as error:
        raise PallasError(
            f"export needs a package that is not installed ({error.name}): pip install"
            " 'pallas-ros[train]'"
        ) from None
    path = exporter(args.weights, out, revision())
    difference = compare(path, args.weights)
    model = ModelFile.load(path)
    print(
        f"{path}: {len(model.data) / 1e6:.1f} MB, {model.metadata['parameters']} weights, 1 to 16"
        f" bodies, sha256 {model.sha256[:12]}; agrees with torch to {difference:.0e}"
    )
    if difference > _LIMIT:
        raise PallasError(
            f"{path} does not agree with its weights (difference {difference:.1e}): do not use it,"
            " and report this"
        )
    return 0


def kind_of(weights: Path) -> str:
    """Return the network type of a ``.safetensors`` file from its metadata.

    Raises:
        PallasError: it is not such a file, or does not state the type.
    """
    try:
        text = weights_metadata(weights)["pallas"]
        return str(parse_json(text, str(weights), "description of a model")["kind"])
    except (KeyError, TypeError):
        raise PallasError(
            f"{weights}: does not state the kind of its network: give --kind, or a file written by"
            " `pallas train`"
        ) from None


def compare(path: Path, weights: Path) -> float:
    """Return the 99th percentile of the difference between ONNX Runtime and torch.

    Inputs are frames of noise in 0 to 1; the difference is relative for outputs above 1. The
    maximum is not used: noise does not move like a body, and where two axes are nearly parallel,
    rounding errors of the rotations are amplified.
    """
    from pallas_ros.torch_runtime.backend import TorchStream

    model = ModelFile.load(path)
    stream = open_stream(path, "onnxruntime")
    reference = TorchStream.open(model, weights=weights)
    generator = np.random.default_rng(0)
    differences = []
    for _ in range(_FRAMES):
        frame = {
            name: generator.uniform(0, 1, shape).astype(np.float32)
            for name, shape in stream.inputs.items()
        }
        ours = stream.step(frame)
        theirs = reference.step(frame)
        differences += [
            (np.abs(ours[name] - theirs[name]) / np.maximum(1.0, np.abs(theirs[name]))).ravel()
            for name in ours
        ]
    return float(np.quantile(np.concatenate(differences), 0.99))
