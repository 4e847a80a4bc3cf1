"""Exports HPSTM-Gen to released files, ``.safetensors`` and ``.onnx``."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpstm_ros.generation.representation import FPS, FRAMES
from hpstm_ros.model.hpstm_gen import SIGMA_M, STATE, Context, HpstmGen, HpstmGenConfig
from hpstm_ros.model.motion_features import J
from hpstm_ros.train.released import document_of, load_released, save_both

NAME = "hpstm_gen"
FILES = (f"{NAME}.safetensors", f"{NAME}.onnx")
"""Files that `export` writes by default."""


class FlowStep(nn.Module):
    """One evaluation of the flow: predicted end point, and its standard deviations in m."""

    output_names = ("end", "deviation")

    def __init__(self, model: HpstmGen) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        state: Tensor,
        tau: Tensor,
        text: Tensor,
        observed: Tensor,
        seen: Tensor,
        noise: Tensor,
        hands: Tensor,
    ) -> tuple[Tensor, ...]:
        """As `HpstmGen.forward`."""
        context = Context(text, observed, seen, noise, hands)
        end, spread = self.model(self.model.put(state, context), tau, context)
        deviation = SIGMA_M * spread.clamp(-6.0, 5.0).exp()
        return end, deviation

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros (batch, ...) for every input of `forward`, by name, in its order."""
        return {
            "state": torch.zeros(batch, FRAMES, STATE),
            "tau": torch.zeros(batch, 1),
            "text": torch.zeros(batch, self.model.config.text),
            "observed": torch.zeros(batch, FRAMES, STATE),
            "seen": torch.zeros(batch, FRAMES, J),
            "noise": torch.zeros(batch, 1),
            "hands": torch.zeros(batch, FRAMES, 8),
        }


def load_model(path: str | Path) -> tuple[HpstmGen, dict[str, Any]]:
    """A model from ``hpstm_gen.safetensors``, and its document.

    Raises:
        PallasError: the file does not contain such a model.
    """
    return load_released(path, "an HPSTM-Gen model", HpstmGenConfig, HpstmGen)


def export(model: HpstmGen, folder: str | Path, document: dict[str, Any], name: str = NAME) -> Path:
    """Write ``<name>.safetensors`` and ``<name>.onnx`` into a folder, each whole or not at all."""
    scaling = {
        "mean": [round(float(x), 6) for x in model.mean],
        "scale": [round(float(x), 6) for x in model.scale],
    }
    document = document_of("hpstm_gen", FPS, model.config, document, **scaling)
    return save_both(model, FlowStep(model), folder, name, document)
