"""HDyS: shapes, invariance, and losses that decrease in training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch

from hpstm_ros.model.hdys import (
    Hdys,
    HdysSettings,
    HdysStep,
    LossSettings,
    Scale,
    alignment,
    losses,
)
from hpstm_ros.train.dynamics.released import export, load_model
from hpstm_ros.train.dynamics.training import take_over
from pallas_ros.runtime import open_stream

TINY = HdysSettings(
    latent=16, width=8, layers=1, heads=2, window=4,
    kinds=(("torque", 6), ("ground", 2), ("measured", 3)), points=(("keypoints", 5),),
    vectors=(("angles", 7),),
)  # fmt: skip


def windows() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    chance = torch.Generator().manual_seed(0)
    motion = {
        "keypoints": torch.randn(3, 4, 5, 9, generator=chance),
        "angles": torch.randn(3, 4, 7, generator=chance),
    }
    dynamics = {"torque": torch.randn(3, 4, 6, generator=chance)}
    dynamics["torque"][0, 0] = float("nan")
    return motion, dynamics


def test_losses_fall_and_reach_every_part_in_use() -> None:
    torch.manual_seed(0)
    model = Hdys(TINY)
    motion, dynamics = windows()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    values = []
    for _ in range(40):
        value, figures = losses(model, motion, dynamics, LossSettings())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(figures)
    assert values[-1]["reconstruction"] < 0.8 * values[0]["reconstruction"]
    assert values[-1]["alignment"] < 0.5 * values[0]["alignment"]
    assert model.moving["keypoints"].enter.weight.grad is not None
    assert model.heads["ground"][0].weight.grad is None  # the domain has no ground reaction


def test_alignment_is_lowest_where_encoders_agree() -> None:
    latent = torch.eye(8)
    temperature = torch.tensor(0.1)
    assert alignment([latent, latent], temperature) < 0.01
    assert alignment([latent, latent.roll(1, 0)], temperature) > 5


@pytest.mark.parametrize("change", [False, True])
def test_forward_dynamics_do_not_see_their_own_acceleration(change: bool) -> None:
    model = Hdys(replace(TINY, change=change)).eval()
    motion, _ = windows()
    forces = {"torque": torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(1))}
    changed = motion["keypoints"].clone()
    changed[:, -1, :, 6:] += 1.0
    with torch.no_grad():
        one = model.accelerate("keypoints", motion["keypoints"], forces)
        other = model.accelerate("keypoints", changed, forces)
        changed[:, 0, :, 6:] += 1.0
        moved = model.accelerate("keypoints", changed, forces)
    assert one.shape == (3, 3, 5, 3)
    assert torch.equal(one, other)
    assert torch.equal(one[:, 0], moved[:, 0]) is not change  # the one before, if at all
    assert torch.equal(one[:, 1:], moved[:, 1:])


def test_training_begins_with_the_given_weights_that_fit() -> None:
    given = HdysStep(Hdys(TINY), Scale(TINY))
    step = HdysStep(Hdys(replace(TINY, change=True)), Scale(TINY))
    name = "model.compose.0.weight"
    fresh = step.state_dict()[name].clone()
    take_over(step, given.state_dict())
    assert torch.equal(step.model.times, given.model.times)
    assert torch.equal(step.state_dict()[name], fresh)


def test_a_released_model_streams_what_the_window_gives(tmp_path: Path) -> None:
    torch.manual_seed(1)
    scale = Scale(TINY)
    scale.put("keypoints", torch.full((5, 9), 0.3), torch.full((5, 9), 2.0))
    scale.put("torque", torch.full((6,), -1.0), torch.full((6,), 3.0))
    step = HdysStep(Hdys(TINY), scale).eval()
    path = export(step, tmp_path, {"git": "test"})
    frames = windows()[0]["keypoints"][:1]
    stream = open_stream(path)
    for frame in frames[0].numpy():
        found = {k: v.copy() for k, v in stream.step({"keypoints": frame[None]}).items()}
    with torch.no_grad():
        again, document = load_model(tmp_path / "hdys.safetensors")
        model = again.model
        wanted = model.decode(model.encode("keypoints", again.scale.standard("keypoints", frames)))
        torque = again.scale.physical("torque", wanted["torque"])[:, -1].numpy()
    assert document["git"] == "test"
    np.testing.assert_allclose(found["torque"], torque, atol=1e-4)
