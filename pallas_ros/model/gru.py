"""Baseline: a two-layer GRU of the same size with a linear head, with the same features and
training.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pallas_ros.model.config import SOLVED, PallasConfig
from pallas_ros.model.encoder_input import State, encoder_input
from pallas_ros.model.legs import CONTACTS
from pallas_ros.model.measured import measured_pose
from pallas_ros.model.pallas import Pallas, PallasOutput


@dataclass(frozen=True)
class GruConfig:
    """Sizes of the baseline."""

    width: int = 384


class GruPallas(Pallas):
    """Same interface as `Pallas`; the encoder is a GRU, and a linear head predicts corrections
    of the measured and the neutral pose.
    """

    def __init__(self, config: GruConfig) -> None:
        super().__init__(
            PallasConfig(
                width=192,
                long_short=False,
                solver="linear",
                legs="direct",
                arms="direct",
                optional_sensors=False,
            )
        )
        self.gru_config = config
        features = self.embed.in_features
        self.blocks = nn.ModuleList()
        self.embed = nn.Linear(features, 192)
        self.gru = nn.GRU(192, config.width, num_layers=2, batch_first=True)
        outputs = 6 * (len(SOLVED) + 1) + len(self.neutral) + CONTACTS + 3
        self.norm = nn.Identity()  # type: ignore[assignment]
        self.correction = nn.Linear(config.width, outputs)
        self.legs = nn.Identity()  # type: ignore[assignment]
        self.deviation = nn.Linear(config.width, 22)
        nn.init.constant_(self.deviation.bias, -3.5)

    def initial_state(self, batch: int = 1) -> State:
        """Zero states for ``batch`` sequences."""
        state = super().initial_state(batch)
        hidden = torch.zeros(batch, 2, self.gru_config.width, device=self.neutral.device)
        return {**state, "gru": hidden}

    def forward(
        self,
        imu: Tensor,
        state: State | None = None,
        latent: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> PallasOutput:
        """Like `Pallas.forward`, with inputs (B, T, 48) of only the four sensors."""
        state = dict(self.initial_state(imu.shape[0]) if state is None else state)
        valid = torch.cat((state["valid"], imu.new_ones(imu.shape[:2])), dim=1)
        x = torch.nn.functional.silu(
            self.embed(encoder_input(imu, valid, state, self.forearm, self.short_decay))
        )
        state["valid"] = valid[:, imu.shape[1] :]
        h, hidden = self.gru(x, state["gru"].transpose(0, 1).contiguous())
        state["gru"] = hidden.transpose(0, 1)
        pelvis, measured = measured_pose(imu)
        out = self.correction(h)
        solved, turn, legs, contacts, velocity = out.split(
            (6 * len(SOLVED), 6, len(self.neutral), CONTACTS, 3), dim=-1
        )
        R = self.assemble(pelvis + turn, measured + solved, legs)
        return self._pack(h, R, measured + solved, contacts, velocity, state)

    def metadata(self) -> dict[str, Any]:
        """Metadata of a checkpoint that describe the network."""
        return {"kind": "pallas-gru", "config": asdict(self.gru_config)}
