"""The fused step equals the original one: same weights and same values, with torch and ONNX
Runtime, over thousands of frames.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from pallas_ros.model.config import PallasConfig
from pallas_ros.model.fused import FusedPallasStep, can_be_fused
from pallas_ros.model.pallas import Pallas
from pallas_ros.model.step import PallasStep
from pallas_ros.runtime import open_stream
from pallas_ros.runtime.model_file import ModelFile
from pallas_ros.torch_runtime.backend import TorchStream, export_stream

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def model() -> Pallas:
    """A complete PALLAS network with random weights, including those that are initialised with
    zeros.
    """
    torch.manual_seed(4)
    network = Pallas(
        PallasConfig(
            width=48,
            heads=4,
            hidden=64,
            window=12,
            legs_hidden=32,
            solver_hidden=16,
            solver_blocks=2,
        )
    ).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return network


def inputs(frames: int, batch: int) -> list[dict[str, np.ndarray]]:
    """Slowly changing random accelerations, rotations and latents."""
    generator = np.random.default_rng(0)
    walk = np.cumsum(generator.normal(0, 0.05, (frames, batch, 4, 3, 3)), axis=0)
    rotation = np.linalg.qr(walk + np.eye(3))[0]
    acceleration = generator.normal(0, 0.4, (frames, batch, 4, 3))
    imu = (
        np.concatenate((acceleration, rotation.reshape(frames, batch, 4, 9)), axis=-1)
        .reshape(frames, batch, 48)
        .astype(np.float32)
    )
    latent = generator.normal(0, 0.3, (frames, batch, 8)).astype(np.float32)
    # Optional sensors that come and go, counting from nothing to fully.
    count = np.clip(np.sin(np.arange(frames) / 9)[:, None, None] + generator.normal(0, 1, 7), 0, 1)
    turned = rotation[:, :, [0, 1, 2, 3, 0, 1, 2]].reshape(frames, batch, 7, 9)
    own = np.concatenate((generator.normal(0, 0.4, (frames, batch, 7, 3)), turned), axis=-1)
    worn = np.broadcast_to(count[..., None], (frames, batch, 7, 1))
    extra = np.concatenate((worn, own * worn), axis=-1).reshape(frames, batch, 91)
    every = zip(imu, latent, extra.astype(np.float32))
    return [{"imu": a, "latent": b, "extra": c} for a, b, c in every]


def test_same_numbers_as_the_definition(model: Pallas, tmp_path: Path) -> None:
    assert can_be_fused(model)
    batch = 3
    path = export_stream(FusedPallasStep(model), tmp_path / "fused.onnx", {"kind": "pallas"})
    fused = open_stream(path, "onnxruntime", batch)
    reference = TorchStream(ModelFile.load(path), PallasStep(model), batch)
    for count, frame in enumerate(inputs(200, batch)):
        expected = reference.step(frame)
        for name, value in fused.step(frame).items():
            np.testing.assert_allclose(
                value, expected[name], atol=TOLERANCE, err_msg=f"{name} of frame {count}"
            )


def test_streaming_is_the_sequence_over_ten_thousand_frames(model: Pallas, tmp_path: Path) -> None:
    """Frame-by-frame output equals the output of the sequence (in chunks of 1000), beyond the
    window and beyond two periods of the counter.
    """
    drawn = inputs(10_000, 1)
    frames, extra = (np.stack([frame[k] for frame in drawn], axis=1) for k in ("imu", "extra"))
    path = export_stream(FusedPallasStep(model), tmp_path / "fused.onnx", {"kind": "pallas"})
    stream = open_stream(path, "onnxruntime")
    nothing = np.zeros((1, 8), np.float32)
    streamed: dict[str, list[np.ndarray]] = {"positions": [], "root_velocity": []}
    for frame, worn in zip(frames[0], extra[0]):
        out = stream.step({"imu": frame, "latent": nothing, "extra": worn})
        for name, values in streamed.items():
            values.append(out[name][0].copy())
    state = None
    for start in range(0, frames.shape[1], 1000):
        chunk = slice(start, start + 1000)
        with torch.no_grad():
            sequence = model(
                torch.from_numpy(frames[:, chunk]), state, extra=torch.from_numpy(extra[:, chunk])
            )
        state = sequence.state
        np.testing.assert_allclose(
            np.stack(streamed["positions"][chunk]), sequence.positions[0], atol=TOLERANCE
        )
        np.testing.assert_allclose(
            np.stack(streamed["root_velocity"][chunk]), sequence.root_velocity[0], atol=TOLERANCE
        )


def test_ablations_are_not_fused() -> None:
    assert not can_be_fused(Pallas(PallasConfig(solver="linear")))
    assert not can_be_fused(Pallas(PallasConfig(long_short=False)))
    assert not can_be_fused(Pallas(PallasConfig(legs="direct")))
    assert not can_be_fused(Pallas(PallasConfig(arms="direct")))
    assert not can_be_fused(Pallas(PallasConfig(optional_sensors=False)))
