"""Memory of the arms: an autoregressive model of collars and upper arms.

The upper arms have no sensor. The forearm sensor observes the raising of an arm while it moves, but
a raised arm at rest cannot be distinguished from a hanging one with the same forearm orientation.
The window of the encoder forgets the motion, so the pose itself, in the frame of the neck
sensor, is the state. In each frame, a network predicts the motion of the arms, a target pose
(that of S, with a correction), and, per joint, the rate of change towards the target.
"""

import torch
from torch import Tensor, nn

from pallas_ros.model.scan import Form, scan

JOINTS = 4
"""Both collars, both shoulders."""
_FORM = Form(6 * JOINTS, motion=True)


class ArmMemory(nn.Module):
    """Autoregressive model of collars and upper arms.

    Args:
        width: of the encoder's features.
        hidden: width of its own layers.
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
        """Compute the poses of collars and upper arms.

        Args:
            features: (B, T, width).
            proposed: (B, T, 24) r6d from S, in the frame of the neck sensor.
            past: (B, 25) r6d of the frame before the first, and whether there is one; zeros at the
                start.
            keep: (B, T, 24) weight of the pose; 1 if no sensor measures it.
            measured: (B, T, 24) r6d of a sensor times its weight, which is added.

        Returns:
            (B, T, 24) r6d in the frame of the neck sensor, not necessarily orthonormal; and the
            next ``past``.
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
