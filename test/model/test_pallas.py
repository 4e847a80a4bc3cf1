"""The network: streaming equals whole sequences, it is causal, the solver inverts forward
kinematics, and training converges.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pallas_ros.body import kinematics  # noqa: E402
from pallas_ros.body import rotations as np_rotations  # noqa: E402
from pallas_ros.body.errors import PallasError  # noqa: E402
from pallas_ros.body.skeleton import Skeleton  # noqa: E402
from pallas_ros.data.virtual_imu import joint_positions  # noqa: E402
from pallas_ros.geometry import rotations  # noqa: E402
from pallas_ros.model.config import PallasConfig  # noqa: E402
from pallas_ros.model.gru import GruConfig, GruPallas  # noqa: E402
from pallas_ros.model.legs import LATENT  # noqa: E402
from pallas_ros.model.measured import measured_pose  # noqa: E402
from pallas_ros.model.pallas import Pallas  # noqa: E402
from pallas_ros.model.solver import InvertibleSolver  # noqa: E402
from pallas_ros.model.step import export, load_model  # noqa: E402
from pallas_ros.runtime import open_stream  # noqa: E402
from pallas_ros.train.pallas import save_model  # noqa: E402

SMALL = PallasConfig(
    width=32, heads=2, hidden=48, window=8, legs_hidden=24, solver_hidden=16, solver_blocks=2
)
VARIANTS = {
    "whole": SMALL,
    "no long-short": replace(SMALL, long_short=False),
    "linear head": replace(SMALL, solver="linear"),
    "no autoregression": replace(SMALL, legs="direct"),
    "no memory of the arms": replace(SMALL, arms="direct"),
}


def shaken(config: PallasConfig) -> Pallas:
    """A network whose zero-initialised layers are non-zero."""
    torch.manual_seed(1)
    model = Pallas(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model


def sensors(batch: int, frames: int, seed: int = 0) -> "torch.Tensor":
    """Plausible inputs with valid rotations."""
    g = torch.Generator().manual_seed(seed)
    R = rotations.to_matrix(rotations.normalise(torch.randn(batch, frames, 4, 4, generator=g)))
    return torch.cat(
        (0.3 * torch.randn(batch, frames, 4, 3, generator=g), R.flatten(-2)), dim=-1
    ).flatten(-2)


@pytest.mark.parametrize("variant", [*VARIANTS, "gru"])
def test_frame_by_frame_equals_the_whole_sequence(variant: str) -> None:
    model = GruPallas(GruConfig(width=24)).eval() if variant == "gru" else shaken(VARIANTS[variant])
    imu = sensors(2, 40)
    state = None
    parts = []
    with torch.no_grad():
        whole = model(imu)
        for t in range(40):
            out = model(imu[:, t : t + 1], state)
            state = out.state
            parts.append(out.positions)
    assert (torch.cat(parts, 1) - whole.positions).abs().max() < 1e-4


def test_the_future_changes_nothing() -> None:
    model = shaken(SMALL)
    imu = sensors(1, 30)
    other = imu.clone()
    other[:, 20:] = sensors(1, 10, seed=5)
    with torch.no_grad():
        a = model(imu)
        b = model(other)
    assert torch.equal(a.positions[:, :20], b.positions[:, :20])
    assert (a.positions[:, 20:] - b.positions[:, 20:]).abs().max() > 1e-3


def test_long_context_reaches_past_the_window() -> None:
    """With long-short attention, events many windows ago affect the output (section 4.2.2 of the
    report).
    """
    model = shaken(replace(SMALL, legs="direct"))
    imu = sensors(1, 60)
    other = imu.clone()
    other[:, :10] = sensors(1, 10, seed=9)
    with torch.no_grad():
        assert (
            model(imu).solver_output[:, -1] - model(other).solver_output[:, -1]
        ).abs().max() > 1e-6


def test_solver_inverts_to_1e_4() -> None:
    torch.manual_seed(2)
    solver = InvertibleSolver(13).eval()
    with torch.no_grad():
        for p in solver.parameters():
            p.add_(0.05 * torch.randn_like(p))
        x = torch.randn(200, 78)
        assert (solver(solver.inverse(x)) - x).abs().max() < 1e-4
        assert (solver.inverse(solver(x)) - x).abs().max() < 1e-4


def test_released_solver_inverts_to_1e_4_and_gives_positions(released: Path) -> None:
    model = load_model(released)
    assert model.solver is not None
    _, pose = measured_pose(sensors(1, 50)[0])
    with torch.no_grad():
        assert (model.solver(model.solver.inverse(pose)) - pose).abs().max() < 1e-4


def test_positions_are_forward_kinematics_of_the_rotations() -> None:
    model = shaken(SMALL)
    with torch.no_grad():
        out = model(sensors(2, 5))
    R = out.rotations.double().numpy()
    np.testing.assert_allclose(
        R @ np.swapaxes(R, -1, -2), np.broadcast_to(np.eye(3), R.shape), atol=1e-5
    )
    expected = kinematics.forward_kinematics_matrices(
        Skeleton.from_height(), R, np.zeros((2, 5, 3))
    )
    np.testing.assert_allclose(out.positions.numpy(), expected, atol=1e-5)


def test_torch_kinematics_and_rotations_agree_with_numpy() -> None:
    torch.manual_seed(0)
    q = rotations.normalise(torch.randn(7, 22, 4, dtype=torch.float64))
    offsets = torch.tensor(Skeleton.from_height().offsets)
    expected = kinematics.forward_kinematics(Skeleton.from_height(), q.numpy(), np.zeros((7, 3)))
    np.testing.assert_allclose(
        joint_positions(rotations.to_matrix(q), offsets).numpy(), expected, atol=1e-9
    )
    np.testing.assert_allclose(
        rotations.heading(q).numpy(), np_rotations.heading(q.numpy()), atol=1e-9
    )
    v = torch.randn(7, 22, 3, dtype=torch.float64)
    np.testing.assert_allclose(
        rotations.from_rotvec(v).numpy(), np_rotations.from_rotvec(v.numpy()), atol=1e-9
    )
    R = rotations.to_matrix(q)
    np.testing.assert_allclose(
        rotations.from_r6d(rotations.to_r6d(R)).numpy(), R.numpy(), atol=1e-7
    )


def test_latents_choose_other_legs_and_leave_the_upper_body(released: Path) -> None:
    model = load_model(released)
    imu = sensors(1, 20)
    with torch.no_grad():
        plain = model(imu)
        again = model(imu)
        drawn = model(
            imu, latent=torch.randn(1, LATENT, generator=torch.Generator().manual_seed(0))
        )
    assert torch.equal(plain.positions, again.positions), "the mode for control is deterministic"
    legs = (plain.positions - drawn.positions).norm(dim=-1)
    assert legs[0, -1, 7] > 0.005
    assert legs[0, -1, 20] < 1e-6


def test_onnx_step_equals_the_network(tmp_path: Path) -> None:
    save_model(shaken(SMALL), tmp_path / "m.safetensors", {"licence": "of my own data"})
    stream = open_stream(
        export(tmp_path / "m.safetensors", tmp_path / "m.onnx"), backend="onnxruntime"
    )
    assert stream.metadata["licence"] == "of my own data"
    imu = sensors(1, 25)
    with torch.no_grad():
        expected = load_model(tmp_path / "m.safetensors")(imu).positions[0].numpy()
    latent = np.zeros((1, LATENT))
    for t in range(25):
        np.testing.assert_allclose(
            stream.step({"imu": imu[:, t].numpy(), "latent": latent, "extra": np.zeros((1, 91))})[
                "positions"
            ][0],
            expected[t],
            atol=1e-4,
        )


def test_bad_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(PallasError, match=r"w\.safetensors"):
        load_model(tmp_path / "w.safetensors")
    with pytest.raises(PallasError, match="no such file"):
        load_model(tmp_path / "none.safetensors")


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_older_weights_are_refused_in_one_sentence(tmp_path: Path, version: str) -> None:
    """Regression: they were loaded silently, although their shins lean."""
    path = tmp_path / "w.safetensors"
    config = asdict(replace(SMALL, optional_sensors=version != "0.1"))
    if version == "0.1":
        del config["optional_sensors"]
    own = Pallas(replace(SMALL, optional_sensors=version != "0.1"))
    save_model(own, path, {"config": config, "training": {"augmentation": {"mirror": 0.5}}})
    for use in (load_model, lambda file: export(file, tmp_path / "w.onnx")):
        with pytest.raises(PallasError, match=r"w\.safetensors: weights of version 0\.2 or older"):
            use(path)
    assert load_model(path, older=True).config.optional_sensors is (version != "0.1")
