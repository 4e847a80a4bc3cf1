"""Prediction of a body where it is not observed: in the future and in gaps.

A network of linear layers over time and channels (after siMLPe, Guo et al. 2023) takes a window
with initial values for unobserved joints (`hpstm_ros.generation.bridging`), and predicts
corrections and their uncertainty. Observed values are not changed.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.generation.bridging import columns_of
from hpstm_ros.generation.representation import FEATURES, FRAMES
from hpstm_ros.model.motion_features import FeatureKinematics, J

SIGMA_M = 0.05
"""m, initial standard deviation."""
_STEPS = 10.0
"""Scale of the change per frame among the inputs, which makes velocities directly available."""


@dataclass(frozen=True)
class ExpectationConfig:
    """Shape of the network; stored with the weights.

    Attributes:
        width: channels of a frame.
        layers: number of layers, each mixing over time and over channels.
    """

    width: int = 128
    layers: int = 8

    def as_dict(self) -> dict[str, Any]:
        """The settings as a dictionary, for the metadata of a model file."""
        return asdict(self)


class Mixing(nn.Module):
    """A linear layer over time, then one over channels with a nonlinearity, each residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.time = nn.Linear(FRAMES, FRAMES)
        self.enter = nn.Linear(width, width)
        self.leave = nn.Linear(width, width)
        for last in (self.time, self.leave):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 120, width) to (B, 120, width)."""
        h = F.layer_norm(x, (self.width,))
        x = x + self.time(h.transpose(1, 2)).transpose(1, 2)
        h = F.layer_norm(x, (self.width,))
        out: Tensor = x + self.leave(F.gelu(self.enter(h), approximate="tanh"))
        return out


class ExpectationNet(nn.Module):
    """See the module's docstring."""

    mean: Tensor
    scale: Tensor
    columns: Tensor

    def __init__(self, config: ExpectationConfig) -> None:
        super().__init__()
        self.config = config
        self.kinematics = FeatureKinematics()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))
        self.register_buffer("columns", _columns(), persistent=False)
        self.read = nn.Linear(2 * FEATURES + J, config.width)
        self.layers = nn.ModuleList(Mixing(config.width) for _ in range(config.layers))
        self.write = nn.Linear(config.width, FEATURES)
        self.spread = nn.Linear(config.width, 3 * J)
        for last in (self.write, self.spread):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, bridged: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Predict features (B, 120, 137), and the logarithm of the standard deviations of the
        positions in units of 5 cm (B, 120, 66), in the axes of the window.

        Args:
            bridged: (B, 120, 137) features.
            seen: (B, 120, 22), 1 where a joint is observed (the pelvis: the root path as well).
        """
        x = (bridged - self.mean) / self.scale
        shown = seen @ self.columns
        step = _STEPS * (x[:, 1:] - x[:, :-1]) * (shown[:, 1:] * shown[:, :-1])
        step = torch.cat((torch.zeros_like(step[:, :1]), step), 1)
        h = F.layer_norm(self.read(torch.cat((x, step, seen), -1)), (self.config.width,))
        for layer in self.layers:
            h = layer(h)
        h = F.layer_norm(h, (self.config.width,))
        expected = bridged + (1 - shown) * self.scale * self.write(h)
        return expected, self.spread(h)

    def positions(self, features: Tensor) -> Tensor:
        """Joint positions (..., 22, 3) m of features (..., 137), in the frame of the window."""
        out: Tensor = self.kinematics(features)
        return out


def _columns() -> Tensor:
    """Matrix (22, 137): 1 for the features that are observed with a joint."""
    out = torch.zeros(J, FEATURES)
    for joint in range(J):
        out[joint, columns_of([joint], contacts=True)] = 1.0
    return out


class ExpectationStep(nn.Module):
    """The exported step: predicted features, and standard deviations in m."""

    output_names = ("expected", "deviation")

    def __init__(self, model: ExpectationNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, bridged: Tensor, seen: Tensor) -> tuple[Tensor, ...]:
        """Like `ExpectationNet.forward`, with standard deviations (B, 120, 66) in m."""
        expected, spread = self.model(bridged, seen)
        return expected, SIGMA_M * spread.clamp(-6.0, 5.0).exp()

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros (batch, ...) for every input of `forward`, by name, in its order."""
        return {
            "bridged": torch.zeros(batch, FRAMES, FEATURES),
            "seen": torch.zeros(batch, FRAMES, J),
        }
