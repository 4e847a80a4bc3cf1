"""The lower-body generator (4.4): a temporal autoregressive model of the legs.

Every frame's legs follow from the upper body's features, the contacts and the legs of the frame before, which the model itself gave:
a network proposes where the legs want to be, and a gate per joint says how fast they go there. A latent vector chooses among
plausible legs: zero is the deterministic mode, drawn from a normal distribution it gives diverse ones.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LATENT = 8
JOINTS = 8
CONTACTS = 2


class LegGenerator(nn.Module):
    """Autoregressive legs.

    Args:
        width: of the features (encoder and upper body) it is conditioned on.
        hidden: of its own layers.
        autoregressive: False for the ablation: the legs of each frame then follow from the features alone.
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

    def forward(self, features: Tensor, past: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Generate.

        Args:
            features: (B, T, width).
            past: (B, 6 * 8 + 2) legs (r6d less the neutral pose) and contacts of the frame before the first; zeros at the start.
            latent: (B, 8); zeros for the most plausible legs.

        Returns:
            (B, T, 48 + 2 + 3): legs (less the neutral pose), contact logits, pelvis velocity in m/s; and the next past.
        """
        condition = self.condition(features)
        outputs = []
        for frame in range(features.shape[1]):
            known = past if self.autoregressive else torch.zeros_like(past)
            hidden = F.silu(condition[:, frame] + self.past(torch.cat((known, latent), dim=-1)))
            out = self.out(F.silu(self.middle(hidden)) + hidden)
            target, gate, contacts, velocity = out.split((6 * JOINTS, JOINTS, CONTACTS, 3), dim=-1)
            if self.autoregressive:
                legs = past[:, : 6 * JOINTS]
                legs = legs + torch.sigmoid(gate).repeat_interleave(6, dim=-1) * (target - legs)
            else:
                legs = target
            past = torch.cat((legs, torch.sigmoid(contacts)), dim=-1)
            outputs.append(torch.cat((legs, contacts, velocity), dim=-1))
        return torch.stack(outputs, dim=1), past
