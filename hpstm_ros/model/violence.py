"""A small classifier of violent motion: convolutions over time, and the most violent moments count.

Recordings are labelled as a whole, though a boxer also stands still: pooling by a soft maximum over
time learns which moments the label is about (multiple-instance learning).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.generation.guard import VALUES, WINDOW

_SHARPNESS = 2.0
"""Of the soft maximum: from the mean (0) to the maximum (large)."""


class ViolenceClassifier(nn.Module):
    """Frames (B, 64, 68) at 30 Hz to a logit (B, 1)."""

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        self.first = nn.Conv1d(2 * VALUES, width, 5, padding=2)
        self.second = nn.Conv1d(width, width, 5, padding=4, dilation=2)
        self.third = nn.Conv1d(width, width, 5, padding=8, dilation=4)
        self.out = nn.Conv1d(width, 1, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """See the class."""
        speed = F.pad(frames[:, 1:] - frames[:, :-1], (0, 0, 1, 0))
        x = torch.cat((2.0 * frames, 20.0 * speed), dim=-1).transpose(1, 2)
        x = F.gelu(self.first(x))
        x = x + F.gelu(self.second(x))
        x = x + F.gelu(self.third(x))
        moments = self.out(x)[:, 0]
        pooled = torch.logsumexp(_SHARPNESS * moments, dim=1, keepdim=True)
        return (pooled - math.log(moments.shape[1])) / _SHARPNESS


class ViolenceStep(nn.Module):
    """The classifier as it is exported."""

    output_names = ("logit",)

    def __init__(self, model: ViolenceClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> tuple[Tensor]:
        """As `ViolenceClassifier.forward`."""
        return (self.model(frames),)

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros, by name, in the order of `forward`."""
        return {"frames": torch.zeros(batch, WINDOW, VALUES)}
