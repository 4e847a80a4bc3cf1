"""Export of a trained text-to-pose model."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.model.text_pose import TextPose, TextPoseConfig
from hpstm_ros.train.released import document_to_carry_over, load_released, save_both
from pallas_ros.torch_runtime.backend import export_stream

KIND = "text_pose"


def export(
    model: TextPose,
    scale: tuple[NDArray[np.float32], NDArray[np.float32]],
    folder: str | Path,
    document: dict[str, Any],
) -> Path:
    """Write ``text_pose.safetensors`` and ``text_pose.onnx``; return the path of the latter.

    Args:
        model: trained network.
        scale: mean and standard deviation (24, 6) of the poses.
        folder: to write to.
        document: metadata.
    """
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
        PallasError: the file does not contain such a model.
    """
    return load_released(path, "text to pose", TextPoseConfig, TextPose)


def export_file(weights: Path, path: Path, git: str) -> Path:
    """Write the ``.onnx`` file of released weights for `pallas export`; their metadata are
    preserved.

    Raises:
        PallasError: the file does not contain such weights.
    """
    model, document = load_model(weights)
    return export_stream(model, path, document_to_carry_over(document, git))


def step_module(weights: Path) -> TextPose:
    """The network with released weights, as the torch backend runs it."""
    return load_model(weights)[0]
