"""The lower-body generator (4.4): a temporal autoregressive model of the legs.

Every frame's legs follow from the upper body's features, the contacts and the legs of the frame
before, which the model itself gave: a network proposes where the legs want to be, and a gate per
joint says how fast they go there. A latent vector chooses among
plausible legs: zero is the deterministic mode, drawn from a normal distribution it gives diverse
ones.
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
    """Autoregressive legs.

    Args:
        width: of the features (encoder and upper body) it is conditioned on.
        hidden: of its own layers.
        autoregressive: False for the ablation: the legs of each frame then follow from the features
            alone.
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
        """Generate.

        Args:
            features: (B, T, width).
            past: (B, 6 * 8 + 2) legs (r6d less the neutral pose) and contacts of the frame before
                the first; zeros at the start.
            latent: (B, 8); zeros for the most plausible legs.
            keep: (B, T, 48) how much of the generated legs counts: 1 where no sensor measures them.
            measured: (B, T, 48) what is added: a sensor's r6d, less the neutral pose, times how
                much it counts.

        Returns:
            (B, T, 48 + 2 + 3): legs (less the neutral pose), contact logits, pelvis velocity in
            m/s; and the next past.
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
        """Each frame by itself, for the ablation."""
        hidden = F.silu(condition)
        out = self.out(F.silu(self.middle(hidden)) + hidden)
        target, _, others = out.split((6 * JOINTS, JOINTS, CONTACTS + 3), dim=-1)
        return torch.cat((target * keep + measured, others), dim=-1)
