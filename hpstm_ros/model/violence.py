"""A small classifier of violent motion: convolutions and a soft maximum over time.

Recordings are labelled as a whole, although a boxer also stands still. With a soft maximum over
time, the network learns to which moments a label applies (multiple-instance learning).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.generation.guard import VALUES, WINDOW

_SHARPNESS = 2.0
"""Sharpness of the soft maximum: 0 is the mean, large values are the maximum."""


class ViolenceClassifier(nn.Module):
    """Maps frames (B, 64, 68) at 30 Hz to a logit (B, 1)."""

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
    """The exported classifier."""

    output_names = ("logit",)

    def __init__(self, model: ViolenceClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> tuple[Tensor]:
        """Like `ViolenceClassifier.forward`: frames (B, 64, 68) to (B, 1)."""
        return (self.model(frames),)

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros (batch, ...) for every input of `forward`, by name, in its order."""
        return {"frames": torch.zeros(batch, WINDOW, VALUES)}
