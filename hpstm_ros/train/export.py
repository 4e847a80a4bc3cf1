"""From weights to released files: ``hpstm.safetensors``, and ``hpstm.onnx`` with the covariance
calibrated and its document inside.
"""

import json
import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hpstm_ros.model.hpstm import Hpstm, HpstmConfig
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS, MODEL_RATE_HZ
from pallas_ros.files.json_text import parse_json
from pallas_ros.files.revision import revision
from pallas_ros.files.settings import settings
from pallas_ros.files.weights import weights_metadata
from pallas_ros.torch_runtime.backend import export_stream

Network = TypeVar("Network", bound=nn.Module)


class OneFrame(nn.Module):
    """The streaming step: one question, and only what the smoother needs of the answer.

    The caller holds the window, so there is no state.
    """

    output_names = ("positions", "rotations", "covariance", "bones_used")

    def __init__(self, model: Hpstm) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, points: Tensor, seen: Tensor, bones: Tensor, known: Tensor, lookahead: Tensor
    ) -> tuple[Tensor, ...]:
        """As `Hpstm.forward` with Q = 1 and ``lookahead`` (B, 11); positions (B, 22, 3), rotations
        and covariance (B, 22, 3, 3), bones (B, 22).
        """
        out = self.model(points, seen, bones, known, lookahead[:, None])
        return out.positions[:, 0], out.rotations[:, 0], out.covariance[:, 0], out.bones

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros, by name, in the order of `forward`."""
        config = self.model.config
        joints = len(JOINTS)
        return {
            "points": torch.zeros(batch, config.frames, joints, 3),
            "seen": torch.zeros(batch, config.frames, joints),
            "bones": torch.zeros(batch, joints),
            "known": torch.zeros(batch, 1),
            "lookahead": torch.zeros(batch, config.lookaheads),
        }


def load_model(path: str | Path) -> tuple[Hpstm, dict[str, Any]]:
    """A model from ``hpstm.safetensors``, and its metadata.

    Raises:
        PallasError: the file is not that.
    """
    meta = weights_metadata(path)
    try:
        config = parse_json(meta["config"], str(path), "shape of a model")
        model = Hpstm(settings(HpstmConfig, config, f"{path}: config"))
        model.load_state_dict(load_file(path))
    except PallasError:
        raise
    except Exception as error:  # torch and safetensors raise kinds of their own
        raise PallasError(f"{path}: not the weights of an HPSTM model: {error}") from None
    return model.eval(), dict(meta)


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


def export(model: Hpstm, folder: str | Path, document: dict[str, Any], name: str = "hpstm") -> Path:
    """Write ``<name>.safetensors`` and ``<name>.onnx`` into a folder, each whole or not at all;
    returns the path of the latter.

    Args:
        model: in evaluation mode.
        folder: made where it does not exist.
        document: goes into the files (``covariance_scale``, training facts).
        name: of the files.
    """
    document = {
        "kind": "hpstm",
        "rate_hz": MODEL_RATE_HZ,
        "joints": list(JOINTS),
        "config": model.config.as_dict(),
        **document_of_run(),
        **document,
    }
    return save_both(model, OneFrame(model), folder, name, document)


def export_file(weights: Path, path: Path, git: str) -> Path:
    """For `pallas export`: the ``.onnx`` of released weights, their document carried over.

    Raises:
        PallasError: the file is no such weights.
    """
    model, meta = load_model(weights)
    document = {**json.loads(meta.get("pallas", "{}")), "config": model.config.as_dict()}
    return export_stream(OneFrame(model), path, document_to_carry_over(document, git))


def step_module(weights: Path) -> OneFrame:
    """The streaming step with the weights of a released ``.safetensors``: what the torch backend
    runs (entry point ``pallas.streams``).
    """
    return OneFrame(load_model(weights)[0]).eval()


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
    path: str | Path, what: str, build: Callable[[dict[str, Any]], Network]
) -> tuple[Network, dict[str, Any]]:
    """A network from released weights (``.safetensors``), in evaluation mode, and its document.

    Args:
        path: of the weights.
        what: the network's name in messages.
        build: makes the network from the document.

    Raises:
        PallasError: the file does not hold such weights.
    """
    document = parse_json(
        weights_metadata(path).get("pallas", "{}"), str(path), "description of a model"
    )
    try:
        network = build(document)
        network.load_state_dict(load_file(path))
    except PallasError:
        raise
    except Exception as error:  # torch and safetensors raise kinds of their own
        raise PallasError(f"{path}: not the weights of {what}: {error}") from None
    return network.eval(), document


def document_to_carry_over(document: dict[str, Any], git: str) -> dict[str, Any]:
    """The document of released weights without what the export adds itself."""
    made_by_export = ("sha256", "opset", "parameters")
    kept = {key: value for key, value in document.items() if key not in made_by_export}
    return {**kept, "git": git}


def document_of_run() -> dict[str, str]:
    """Commit and date, for the document of a released model."""
    return {"git": revision(), "created": datetime.now(timezone.utc).strftime("%Y-%m-%d")}
