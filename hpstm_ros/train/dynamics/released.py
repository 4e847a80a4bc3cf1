"""From a trained HDyS to released files."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from hpstm_ros.model.hdys import Hdys, HdysSettings, HdysStep, Scale
from hpstm_ros.train.export import save_both
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.files.json_text import parse_json
from pallas_ros.files.settings import settings
from pallas_ros.files.weights import weights_metadata
from pallas_ros.runtime.torch_backend import export_stream

KIND = "hdys"


def export(step: HdysStep, folder: str | Path, document: dict[str, Any]) -> Path:
    """Write ``hdys.safetensors`` and ``hdys.onnx``; the path of the latter."""
    document = {
        "kind": KIND,
        "rate_hz": MODEL_RATE_HZ,
        "config": asdict(step.model.settings),
        **document,
    }
    return save_both(step, step, folder, KIND, document)


def load_model(path: str | Path) -> tuple[HdysStep, dict[str, Any]]:
    """A model from ``hdys.safetensors``, and its document.

    Raises:
        PallasError: the file is not that.
    """
    document = parse_json(
        weights_metadata(path).get("pallas", "{}"), str(path), "description of a model"
    )
    try:
        shape = settings(HdysSettings, document["config"], f"{path}: config")
        step = HdysStep(Hdys(shape), Scale(shape))
        step.load_state_dict(load_file(path))
    except PallasError:
        raise
    except Exception as error:  # torch and safetensors raise kinds of their own
        raise PallasError(f"{path}: not the weights of HDyS: {error}") from None
    return step.eval(), document


def export_file(weights: Path, path: Path, git: str) -> Path:
    """For `pallas export`: the ``.onnx`` of released weights, their document carried over.

    Raises:
        PallasError: the file is no such weights.
    """
    step, document = load_model(weights)
    made_by = ("sha256", "opset", "parameters")
    document = {key: value for key, value in document.items() if key not in made_by}
    return export_stream(step, path, {**document, "git": git})


def step_module(weights: Path) -> HdysStep:
    """The streaming step with released weights, as the torch backend runs it."""
    return load_model(weights)[0]
