"""The lower-body generator (4.4): a temporal autoregressive model of the legs.

The legs of a frame depend on the features of the upper body, and on the model's own contacts and
legs of the previous frame. A network predicts a target pose, and per joint a gate that sets the
rate of change. A latent vector selects among plausible legs: zero is the deterministic mode;
samples of a normal distribution give diverse legs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pallas_ros.model.scan import Form, scan

LATENT = 8
JOINTS = 8
CONTACTS = 2
_FORM = Form(6 * JOINTS, motion=False, contacts=CONTACTS, velocity=3)


class LegGenerator(nn.Module):
    """Autoregressive model of the legs.

    Args:
        width: of the conditioning features (encoder and upper body).
        hidden: width of its own layers.
        autoregressive: False for the ablation, in which the legs depend only on the features.
    """

    def __init__(self, width: int, hidden: int, autoregressive: bool = True) -> None:
        super().__init__()
        self.autoregressive = autoregressive
        self.condition = nn.Linear(width, hidden)
        self.past = nn.Linear(6 * JOINTS + CONTACTS + LATENT, hidden, bias=False)
        self.middle = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 6 * JOINTS + JOINTS + CONTACTS + 3)
        nn.init.normal_(self.out.weight, std=0.02)
        with torch.no_grad():
            self.out.bias.zero_()
            self.out.bias[6 * JOINTS : 7 * JOINTS] = -1.0

    def forward(
        self, features: Tensor, past: Tensor, latent: Tensor, keep: Tensor, measured: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Generate the legs.

        Args:
            features: (B, T, width).
            past: (B, 6 * 8 + 2) legs (r6d minus the neutral pose) and contacts of the frame before
                the first; zeros at the start.
            latent: (B, 8); zeros for the most plausible legs.
            keep: (B, T, 48) weight of the generated legs; 1 if no sensor measures them.
            measured: (B, T, 48) r6d of a sensor, minus the neutral pose, times its weight, which is
                added.

        Returns:
            (B, T, 48 + 2 + 3): legs (minus the neutral pose), contact logits, pelvis velocity in
            m/s; and the next ``past``.
        """
        condition = self.condition(features)
        pose, of_latent = self.past.weight.split((6 * JOINTS + CONTACTS, LATENT), dim=1)
        condition = condition + (latent @ of_latent.T)[:, None]
        if not self.autoregressive:
            return self._direct(condition, keep, measured), past
        weights = (pose, self.middle.weight, self.middle.bias, self.out.weight, self.out.bias)
        seen = torch.ones_like(past[:, :1])
        legs, others = scan(_FORM, condition, None, keep, measured, past, seen, weights)
        contacts = torch.sigmoid(others[:, -1, :CONTACTS])
        return torch.cat((legs, others), dim=-1), torch.cat((legs[:, -1], contacts), dim=-1)

    def _direct(self, condition: Tensor, keep: Tensor, measured: Tensor) -> Tensor:
        """Compute each frame independently, for the ablation."""
        hidden = F.silu(condition)
        out = self.out(F.silu(self.middle(hidden)) + hidden)
        target, _, others = out.split((6 * JOINTS, JOINTS, CONTACTS + 3), dim=-1)
        return torch.cat((target * keep + measured, others), dim=-1)
