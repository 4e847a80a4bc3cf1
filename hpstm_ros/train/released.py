"""Released files of HPSTM and related models: weights (``.safetensors``) and run-time models
(``.onnx``), both with the model's metadata document.
"""

import json
import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol, TypeVar

from safetensors.torch import load_file, save_file
from torch import nn

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS
from pallas_ros.files.json_text import parse_json
from pallas_ros.files.revision import revision
from pallas_ros.files.settings import settings
from pallas_ros.files.weights import weights_metadata
from pallas_ros.torch_runtime.backend import export_stream

Network = TypeVar("Network", bound=nn.Module)
Shape = TypeVar("Shape")


class Configuration(Protocol):
    """The shape of a network."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""


def start_from(model: nn.Module, trained: nn.Module, path: str | Path) -> None:
    """Copy the weights of ``path`` into a network that is about to be trained further.

    Raises:
        PallasError: the two networks are not of the same shape.
    """
    try:
        model.load_state_dict(trained.state_dict())
    except RuntimeError:
        raise PallasError(
            f"{path}: its network is not of the shape in the configuration; change 'model', or"
            " leave 'start' empty"
        ) from None


def save_both(
    model: nn.Module, step: nn.Module, folder: str | Path, name: str, document: dict[str, Any]
) -> Path:
    """Write ``<name>.safetensors`` and ``<name>.onnx``, each whole or not at all.

    Args:
        model: whose weights are kept.
        step: what runs, as the ``.onnx`` holds it (`pallas_ros.torch_runtime.backend.StepModule`).
        folder: made where it does not exist.
        name: of the files.
        document: goes into both; its ``config`` rebuilds the model.

    Returns:
        The path of the ``.onnx``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f".{name}.{os.getpid()}.safetensors"
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    metadata = {"config": json.dumps(document["config"]), "pallas": json.dumps(document)}
    try:
        save_file(tensors, weights, metadata=metadata)
        path = export_stream(step, folder / f"{name}.onnx", document)
        weights.replace(folder / f"{name}.safetensors")
    finally:
        weights.unlink(missing_ok=True)
    return path


def load_released(
    path: str | Path, what: str, shape: type[Shape], build: Callable[[Shape], Network]
) -> tuple[Network, dict[str, Any]]:
    """A network from released weights (``.safetensors``), in evaluation mode, and its document.

    Args:
        path: of the weights.
        what: the network's name in messages.
        shape: settings that the file's ``config`` has.
        build: makes the network from them.

    Raises:
        PallasError: the file does not hold such weights.
    """
    meta = weights_metadata(path)
    document = parse_json(meta.get("pallas", "{}"), str(path), "description of a model")
    try:
        config = document.get("config") or parse_json(meta["config"], str(path), "shape of a model")
        network = build(settings(shape, config, f"{path}: config"))
        network.load_state_dict(load_file(path))
    except PallasError:
        raise
    except Exception as error:  # torch and safetensors raise kinds of their own
        raise PallasError(f"{path}: not the weights of {what}: {error}") from None
    return network.eval(), document


def document_of(
    kind: str, rate_hz: float, config: Configuration, document: dict[str, Any], **own: Any
) -> dict[str, Any]:
    """The document of a released model of motion.

    Args:
        kind: of the model, as `open_stream` expects it.
        rate_hz: frames a second.
        config: shape of the network.
        document: facts of the training; they come last and win.
        own: what the model needs besides to be run.
    """
    return {
        "kind": kind,
        "rate_hz": rate_hz,
        "joints": list(JOINTS),
        "config": config.as_dict(),
        **own,
        **document_of_run(),
        **document,
    }


def document_to_carry_over(document: dict[str, Any], git: str) -> dict[str, Any]:
    """Return the document of released weights without the keys that the export adds itself."""
    made_by_export = ("sha256", "opset", "parameters")
    kept = {key: value for key, value in document.items() if key not in made_by_export}
    return {**kept, "git": git}


def document_of_run() -> dict[str, str]:
    """Commit and date, for the document of a released model."""
    return {"git": revision(), "created": datetime.now(timezone.utc).strftime("%Y-%m-%d")}
