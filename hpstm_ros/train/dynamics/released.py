"""Export of a trained HDyS model."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpstm_ros.model.hdys import Hdys, HdysSettings, HdysStep, Scale
from hpstm_ros.train.released import document_to_carry_over, load_released, save_both
from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.torch_runtime.backend import export_stream

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
        PallasError: the file does not contain such a model.
    """
    return load_released(path, "HDyS", HdysSettings, _step)


def _step(shape: HdysSettings) -> HdysStep:
    return HdysStep(Hdys(shape), Scale(shape))


def export_file(weights: Path, path: Path, git: str) -> Path:
    """Write the ``.onnx`` file of released weights for `pallas export`; their metadata are
    preserved.

    Raises:
        PallasError: the file does not contain such weights.
    """
    step, document = load_model(weights)
    return export_stream(step, path, document_to_carry_over(document, git))


def step_module(weights: Path) -> HdysStep:
    """The streaming step with released weights, as the torch backend runs it."""
    return load_model(weights)[0]
