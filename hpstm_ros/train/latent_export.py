"""From a trained length-aware generator to released files, ``.safetensors`` and ``.onnx``."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpstm_ros.generation.representation import FPS
from hpstm_ros.model.latent import LatentConfig, LatentModel
from hpstm_ros.train.released import document_of, load_released, save_both


class LatentStep(nn.Module):
    """One evaluation: the end that the flow heads for, and the motion of the state as it is."""

    output_names = ("end", "frames")

    def __init__(self, model: LatentModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, state: Tensor, tau: Tensor, text: Tensor, length: Tensor
    ) -> tuple[Tensor, ...]:
        """As `LatentFlow.forward` of whole motions, and `LatentModel.frames`."""
        end = self.model.flow(state, tau, text, length, torch.ones_like(length))
        return end, self.model.frames(state, length)

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """By name, in the order of `forward`."""
        c = self.model.config
        return {
            "state": torch.zeros(batch, c.subspaces, c.size),
            "tau": torch.zeros(batch, 1),
            "text": torch.zeros(batch, c.text),
            "length": torch.full((batch, 1), float(c.longest)),
        }


def export(
    model: LatentModel, folder: str | Path, document: dict[str, Any], name: str = "latent"
) -> Path:
    """Write ``<name>.safetensors`` and ``<name>.onnx`` into a folder, each whole or not at all."""
    document = document_of("latent", FPS, model.config, document)
    return save_both(model, LatentStep(model), folder, name, document)


def load_latent(path: str | Path) -> tuple[LatentModel, dict[str, Any]]:
    """The model of ``latent.safetensors``, and its document.

    Raises:
        PallasError: the file is not that.
    """
    return load_released(path, "a length-aware generator", LatentConfig, LatentModel)
