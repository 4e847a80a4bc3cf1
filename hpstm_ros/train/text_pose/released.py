"""From a trained text to pose to released files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from hpstm_ros.model.text_pose import TextPose, TextPoseConfig
from hpstm_ros.train.export import save_both
from pallas_ros.body.errors import PallasError
from pallas_ros.files.json_text import parse_json
from pallas_ros.files.settings import settings
from pallas_ros.files.weights import weights_metadata
from pallas_ros.runtime.torch_backend import export_stream

KIND = "text_pose"


def export(
    model: TextPose,
    scale: tuple[NDArray[np.float32], NDArray[np.float32]],
    folder: str | Path,
    document: dict[str, Any],
) -> Path:
    """Write ``text_pose.safetensors`` and ``text_pose.onnx``; the path of the latter."""
    mean, deviation = scale
    document = {
        "kind": KIND,
        "config": model.config.as_dict(),
        "mean": mean.round(5).tolist(),
        "deviation": deviation.round(5).tolist(),
        **document,
    }
    return save_both(model, model, folder, KIND, document)


def load_model(path: str | Path) -> tuple[TextPose, dict[str, Any]]:
    """A model from ``text_pose.safetensors``, and its document.

    Raises:
        PallasError: the file is not that.
    """
    document = parse_json(
        weights_metadata(path).get("pallas", "{}"), str(path), "description of a model"
    )
    try:
        model = TextPose(settings(TextPoseConfig, document["config"], f"{path}: config"))
        model.load_state_dict(load_file(path))
    except PallasError:
        raise
    except Exception as error:  # torch and safetensors raise kinds of their own
        raise PallasError(f"{path}: not the weights of text to pose: {error}") from None
    return model.eval(), document


def export_file(weights: Path, path: Path, git: str) -> Path:
    """For `pallas export`: the ``.onnx`` of released weights, their document carried over.

    Raises:
        PallasError: the file is no such weights.
    """
    model, document = load_model(weights)
    made_by = ("sha256", "opset", "parameters")
    document = {key: value for key, value in document.items() if key not in made_by}
    return export_stream(model, path, {**document, "git": git})


def step_module(weights: Path) -> TextPose:
    """The network with released weights, as the torch backend runs it."""
    return load_model(weights)[0]
