"""Recurrent networks that `pallas bench` compares with PALLAS: streaming steps of the published
sizes, with random weights.

Sizes are from TransPose (Yi, Zhou, Xu, SIGGRAPH 2021) and PIP (Yi et al., CVPR 2022) and the
implementations released by their authors: chains of "linear, ReLU, two LSTM layers, linear". Both
take six IMUs (72 values). The physics optimiser of PIP is omitted.
"""

import torch
from torch import Tensor, nn

_IMU = 72
_LEAVES = 5 * 3
_JOINTS = 23 * 3
_ROTATIONS = 15 * 6


class _Recurrent(nn.Module):
    """Linear, ReLU, two LSTM layers, linear; over (T, B, size)."""

    def __init__(self, size: int, out: int, hidden: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.rise = nn.Linear(size, hidden)
        self.lstm = nn.LSTM(hidden, hidden, num_layers=2, bidirectional=bidirectional)
        self.fall = nn.Linear(hidden * (2 if bidirectional else 1), out)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, state = self.lstm(torch.relu(self.rise(x)), state)
        return self.fall(y), state


class TransPose(nn.Module):
    """Online TransPose: for every frame, five networks over a window of 26 frames (20 past, 5
    future), four of them bidirectional.
    """

    WINDOW = 26
    _NOW = 20
    output_names = ("rotations", "contacts", "velocity", "next_window", "next_h", "next_c")

    def __init__(self) -> None:
        super().__init__()
        self.leaves = _Recurrent(_IMU, _LEAVES, 256, bidirectional=True)
        self.joints = _Recurrent(_LEAVES + _IMU, _JOINTS, 64, bidirectional=True)
        self.rotations = _Recurrent(_JOINTS + _IMU, _ROTATIONS, 128, bidirectional=True)
        self.contacts = _Recurrent(_LEAVES + _IMU, 2, 64, bidirectional=True)
        self.velocity = _Recurrent(_JOINTS + _IMU, 3, 256)

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros (batch, ...) for every input of `forward`, by name."""
        return {
            "imu": torch.zeros(batch, _IMU),
            "state_window": torch.zeros(batch, self.WINDOW - 1, _IMU),
            "state_h": torch.zeros(batch, 2, 256),
            "state_c": torch.zeros(batch, 2, 256),
        }

    def forward(self, imu: Tensor, window: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        """Process one frame (B, 72), with the window (B, 25, 72) and the state of the velocity
        network.
        """
        seen = torch.cat((window, imu[:, None]), dim=1)
        x = seen.transpose(0, 1)
        leaves = torch.cat((self.leaves(x)[0], x), dim=-1)
        joints = torch.cat((self.joints(leaves)[0], x), dim=-1)
        velocity, (h, c) = self.velocity(
            joints, (h.transpose(0, 1).contiguous(), c.transpose(0, 1).contiguous())
        )
        now = self._NOW
        return (
            self.rotations(joints)[0][now],
            self.contacts(leaves)[0][now],
            velocity[now],
            seen[:, 1:],
            h.transpose(0, 1),
            c.transpose(0, 1),
        )


class Pip(nn.Module):
    """The five unidirectional networks of PIP, with state."""

    output_names = (
        "rotations",
        "velocity",
        "contacts",
        *(f"next_{kind}{i}" for i in range(5) for kind in "hc"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.hidden = (256, 256, 256, 256, 64)
        sizes = (
            (_IMU, _LEAVES),
            (_LEAVES + _IMU, _JOINTS),
            (_JOINTS + _IMU, _ROTATIONS),
            (_JOINTS + _IMU, 24 * 3),
            (_JOINTS + _IMU, 2),
        )
        self.networks = nn.ModuleList(
            _Recurrent(size, out, hidden) for (size, out), hidden in zip(sizes, self.hidden)
        )

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros (batch, ...) for every input of `forward`, by name."""
        states = {
            f"state_{kind}{i}": torch.zeros(batch, 2, hidden)
            for i, hidden in enumerate(self.hidden)
            for kind in "hc"
        }
        return {"imu": torch.zeros(batch, _IMU), **states}

    def forward(self, imu: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Process one frame (B, 72), with h and c of every network, (B, 2, hidden)."""
        carried = [state.transpose(0, 1).contiguous() for state in states]
        following: list[Tensor] = []
        x = imu[None]

        def run(index: int, y: Tensor) -> Tensor:
            out, (h, c) = self.networks[index](y, (carried[2 * index], carried[2 * index + 1]))
            following.extend((h.transpose(0, 1), c.transpose(0, 1)))
            return torch.as_tensor(out)

        leaves = run(0, x)
        y = torch.cat((run(1, torch.cat((leaves, x), dim=-1)), x), dim=-1)
        rotations = run(2, y)
        velocity = run(3, y)
        contacts = run(4, y)
        return rotations[0], velocity[0], contacts[0], *following
