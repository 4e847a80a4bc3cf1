"""Exports released files: ``hpstm.safetensors``, and ``hpstm.onnx`` with calibrated covariance and
embedded metadata.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpstm_ros.model.hpstm import Hpstm, HpstmConfig
from hpstm_ros.train.released import (
    document_of,
    document_to_carry_over,
    load_released,
    save_both,
)
from pallas_ros.body.names import JOINTS, MODEL_RATE_HZ
from pallas_ros.torch_runtime.backend import export_stream


class OneFrame(nn.Module):
    """The streaming step: one query, with only the outputs that the smoother needs.

    The caller stores the window, so there is no state.
    """

    output_names = ("positions", "rotations", "covariance", "bones_used")

    def __init__(self, model: Hpstm) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, points: Tensor, seen: Tensor, bones: Tensor, known: Tensor, lookahead: Tensor
    ) -> tuple[Tensor, ...]:
        """Like `Hpstm.forward` with Q = 1 and ``lookahead`` (B, 11).

        Returns:
            Positions (B, 22, 3) m, rotations (B, 22, 3, 3), covariance (B, 22, 3, 3) m^2 and bones
            (B, 22) m.
        """
        out = self.model(points, seen, bones, known, lookahead[:, None])
        return out.positions[:, 0], out.rotations[:, 0], out.covariance[:, 0], out.bones

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros (batch, ...) for every input of `forward`, by name, in its order."""
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
    """A model from ``hpstm.safetensors``, and its document.

    Raises:
        PallasError: the file does not contain such a model.
    """
    return load_released(path, "an HPSTM model", HpstmConfig, Hpstm)


def export(model: Hpstm, folder: str | Path, document: dict[str, Any], name: str = "hpstm") -> Path:
    """Write ``<name>.safetensors`` and ``<name>.onnx`` into a folder atomically;
    returns the path of the latter.

    Args:
        model: in evaluation mode.
        folder: created if it does not exist.
        document: goes into the files (``covariance_scale``, training facts).
        name: of the files.
    """
    document = document_of("hpstm", MODEL_RATE_HZ, model.config, document)
    return save_both(model, OneFrame(model), folder, name, document)


def export_file(weights: Path, path: Path, git: str) -> Path:
    """Write the ``.onnx`` file of released weights for `pallas export`; their metadata are
    preserved.

    Raises:
        PallasError: the file does not contain such weights.
    """
    model, document = load_model(weights)
    document = {**document, "config": model.config.as_dict()}
    return export_stream(OneFrame(model), path, document_to_carry_over(document, git))


def step_module(weights: Path) -> OneFrame:
    """The streaming step with the weights of a released ``.safetensors``: what the torch backend
    runs (entry point ``pallas.streams``).
    """
    return OneFrame(load_model(weights)[0]).eval()
