"""The memory of the arms: where collars and upper arms are follows from where they were.

No sensor sits on the upper arm. What its forearm's sensor says of it comes and goes: a raise is
felt while it lasts, an arm held up looks like one that hangs with the forearm up. The encoder's
window forgets the raise; so the pose itself is the state, in the frame of the neck sensor. Each
frame a network says how the arms have moved, where S wants them (with a correction), and, per
joint, how far to go there.
"""

import torch
from torch import Tensor, nn

from pallas_ros.model.scan import Form, scan

JOINTS = 4
"""Both collars, both shoulders."""
_FORM = Form(6 * JOINTS, motion=True)


class ArmMemory(nn.Module):
    """Autoregressive collars and upper arms.

    Args:
        width: of the encoder's features.
        hidden: of its own layers.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        numbers = 6 * JOINTS
        self.condition = nn.Linear(width + numbers, hidden)
        self.past = nn.Linear(numbers, hidden, bias=False)
        self.middle = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 2 * numbers + JOINTS)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, features: Tensor, proposed: Tensor, past: Tensor, keep: Tensor, measured: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Remember.

        Args:
            features: (B, T, width).
            proposed: (B, T, 24) r6d that S gives, in the neck sensor's frame.
            past: (B, 25) r6d of the frame before the first, and whether there was one; zeros at the
                start.
            keep: (B, T, 24) how much of the pose counts: 1 where no sensor measures it.
            measured: (B, T, 24) what is added: a sensor's r6d times how much it counts.

        Returns:
            (B, T, 24) r6d in the neck sensor's frame, not necessarily orthonormal; and the next
            past.
        """
        condition = self.condition(torch.cat((features, proposed), dim=-1))
        arms, seen = past.split((6 * JOINTS, 1), dim=-1)
        weights = (
            self.past.weight,
            self.middle.weight,
            self.middle.bias,
            self.out.weight,
            self.out.bias,
        )
        poses, _ = scan(_FORM, condition, proposed, keep, measured, arms, seen, weights)
        return poses, torch.cat((poses[:, -1], torch.ones_like(seen)), dim=-1)
