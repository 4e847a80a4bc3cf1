"""A small streaming model with every kind of state of the released ones: a window of vectors, a
wrapping counter, an input passed through.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pallas_ros.torch_runtime import backend as torch_backend

WINDOW = 8
WIDTH = 16
PERIOD = 64


class SmallStep(nn.Module):
    """Attention over the last frames, with rotary-like angles from a wrapping counter."""

    output_names = ("pose", "energy", "next_window", "next_frame", "next_previous")

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.read = nn.Linear(12, WIDTH)
        self.head = nn.Linear(WIDTH, 6)

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        return {
            "imu": torch.zeros(batch, 12),
            "state_window": torch.zeros(batch, WINDOW, WIDTH),
            "state_frame": torch.zeros(batch, 1),
            "state_previous": torch.zeros(batch, 12),
        }

    def forward(
        self, imu: Tensor, window: Tensor, frame: Tensor, previous: Tensor
    ) -> tuple[Tensor, ...]:
        angle = frame * (2 * torch.pi / PERIOD)
        x = self.read(imu - previous) * torch.cos(angle)
        window = torch.cat((window[:, 1:], x[:, None]), 1)
        weight = torch.softmax(window @ x[:, :, None], dim=1)
        pose = self.head(torch.sum(weight * window, dim=1))
        return (
            pose,
            torch.sum(pose * pose, dim=1, keepdim=True),
            window,
            torch.remainder(frame + 1, PERIOD),
            imu,
        )


METADATA = {"kind": "small", "rate_hz": 60, "joints": ["pelvis", "head"], "sites": ["waist"]}


@pytest.fixture(scope="session")
def small_step() -> SmallStep:
    return SmallStep().eval()


@pytest.fixture(scope="session")
def small_model(small_step: SmallStep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model as a model file."""
    return torch_backend.export_stream(
        small_step, tmp_path_factory.mktemp("models") / "small.onnx", METADATA
    )
