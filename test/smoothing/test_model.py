"""Structural properties of the network, independent of training: bone lengths, frames,
equivariance; and resuming of training.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="needs the extra [train]")

import torch

from hpstm_ros.model.geometry import Bones, gram_schmidt, swing, unit
from hpstm_ros.model.hpstm import Hpstm, HpstmConfig, HpstmOutput
from hpstm_ros.train import training
from hpstm_ros.train.batches import WindowSampler
from hpstm_ros.train.export import load_model
from hpstm_ros.train.noise import DESIGN_NOISE, add_noise
from hpstm_ros.train.training import RunSettings, TrainingSettings, WindowStream, train
from hpstm_ros.train.variation import STRONG, vary
from pallas_ros.body import rotations
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import MotionLibrary
from pallas_ros.data.packs import PackClip
from pallas_ros.runtime import open_stream

F64 = NDArray[np.float64]
FRAMES = 32
LOOKAHEADS = 11
LENGTHS = torch.tensor(Skeleton.from_height().lengths, dtype=torch.float32)
PARENT = [max(p, 0) for p in PARENTS]


@pytest.fixture(scope="module")
def network() -> Hpstm:
    """An untrained network without zero-initialised parts."""
    torch.manual_seed(0)
    net = Hpstm(HpstmConfig(width=32, heads=2, hidden=32, layers=1)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return net


def windows(walk: F64, count: int = 6) -> torch.Tensor:
    rng = np.random.default_rng(3)
    truth = np.stack([walk[20 * k : 20 * k + FRAMES] for k in range(count)]).astype(np.float32)
    return torch.from_numpy(add_noise(truth, DESIGN_NOISE, rng))


def ask(
    net: Hpstm, points: torch.Tensor, seen: torch.Tensor | None = None, known: float = 1.0
) -> HpstmOutput:
    count = len(points)
    seen = torch.ones(points.shape[:3]) if seen is None else seen
    look = torch.eye(LOOKAHEADS)[[0, 5]].expand(count, 2, LOOKAHEADS)
    with torch.no_grad():
        out: HpstmOutput = net(
            points, seen, LENGTHS.expand(count, -1), torch.full((count, 1), known), look
        )
    return out


def stretch_m(out: HpstmOutput) -> float:
    length = (out.positions - out.positions[:, :, PARENT]).norm(dim=-1)
    return float((length - out.bones[:, None]).abs().max())


@pytest.mark.parametrize("gone", ["nothing", "an arm", "the trunk", "all but the feet"])
def test_bones_have_their_lengths_and_rotations_are_rotations_whatever_is_missing(
    network: Hpstm, walk: F64, gone: str
) -> None:
    names = {
        "nothing": (),
        "an arm": ("right_shoulder", "right_elbow", "right_wrist"),
        "the trunk": (
            "pelvis",
            "spine1",
            "spine2",
            "spine3",
            "neck",
            "left_hip",
            "right_hip",
            "left_collar",
            "right_collar",
        ),
        "all but the feet": tuple(n for n in JOINTS if "foot" not in n),
    }[gone]
    seen = torch.ones(6, FRAMES, len(JOINTS))
    seen[:, :, [JOINT_INDEX[n] for n in names]] = 0.0
    for known in (0.0, 1.0):
        out = ask(network, windows(walk), seen, known)
        assert stretch_m(out) < 1e-5
        eye = out.rotations @ out.rotations.transpose(-1, -2)
        assert float((eye - torch.eye(3)).abs().max()) < 1e-3
        assert torch.isfinite(out.covariance).all()


def test_a_body_turned_any_way_and_shifted_gives_the_same_turned_and_shifted(
    network: Hpstm, walk: F64
) -> None:
    R = torch.from_numpy(
        rotations.to_matrix(rotations.from_rotvec(np.array([0.9, -1.3, 0.4])))
    ).float()
    shift = torch.tensor([1.0, -2.0, 0.5])
    points = windows(walk)
    plain = ask(network, points)
    turned = ask(network, points @ R.T + shift)
    torch.testing.assert_close(turned.positions, plain.positions @ R.T + shift, atol=2e-4, rtol=0)
    torch.testing.assert_close(turned.covariance, R @ plain.covariance @ R.T, atol=1e-6, rtol=1e-2)


def test_a_network_that_has_learned_nothing_is_a_filter(walk: F64) -> None:
    """With zero output it is a robust local polynomial on the manifold, from which training
    starts.
    """
    torch.manual_seed(0)
    net = Hpstm(HpstmConfig()).eval()
    points = windows(walk)
    truth = torch.from_numpy(
        np.stack([np.stack([walk[20 * k + 31], walk[20 * k + 26]]) for k in range(6)])
    ).float()
    raw = (points[:, [31, 26]] - truth).norm(dim=-1).mean((0, 2))
    error = (ask(net, points).positions - truth).norm(dim=-1).mean((0, 2))
    assert error[0] < 0.9 * raw[0] and error[1] < 0.65 * raw[1]


def test_projection_nears_the_lengths_and_leaves_what_fits(walk: F64) -> None:
    bones = Bones()
    fits = torch.from_numpy(walk[:4]).float()[None]
    mobility = torch.ones(1, 4, len(JOINTS))
    torch.testing.assert_close(
        bones.project(fits, LENGTHS[None], mobility), fits, atol=1e-5, rtol=0
    )
    noisy = fits + 0.02 * torch.randn(fits.shape, generator=torch.Generator().manual_seed(0))
    off = [
        float(bones.stretch(p, LENGTHS[None])[1].norm(dim=-1).mean())
        for p in (noisy, bones.project(noisy, LENGTHS[None], mobility))
    ]
    assert off[1] < 0.35 * off[0]


def test_swing_takes_one_direction_to_the_other_by_the_shortest_way() -> None:
    a, b = unit(torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(1)))
    R = swing(a, b, torch.eye(3).expand(50, 3, 3))
    torch.testing.assert_close((R @ a[..., None])[..., 0], b, atol=1e-5, rtol=0)
    angle = torch.arccos(((R.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
    torch.testing.assert_close(angle, torch.arccos((a * b).sum(-1).clamp(-1, 1)), atol=2e-3, rtol=0)
    torch.testing.assert_close(
        torch.linalg.det(gram_schmidt(a, b)), torch.ones(50), atol=1e-4, rtol=0
    )


def test_the_released_onnx_file_equals_the_released_weights(model: Path, walk: F64) -> None:
    net, _ = load_model(model.with_suffix(".safetensors"))
    points = windows(walk, 1)
    inputs = {
        "points": points.numpy(),
        "seen": np.ones(points.shape[:3]),
        "bones": LENGTHS.numpy()[None],
        "known": np.ones((1, 1)),
        "lookahead": np.eye(LOOKAHEADS)[None, 5],
    }
    out = open_stream(model, "onnxruntime").step(inputs)
    expected = ask(net, points)
    np.testing.assert_allclose(out["positions"], expected.positions[:, 1], atol=1e-4)
    np.testing.assert_allclose(out["covariance"], expected.covariance[:, 1], atol=1e-6)


@pytest.fixture(scope="module")
def library(walk: F64) -> MotionLibrary:
    rng = np.random.default_rng(0)
    clips = []
    for name in ("a", "b", "c"):
        q = rotations.from_rotvec(0.4 * rng.standard_normal((1, 22, 3)) + np.zeros((120, 22, 3)))
        motion = Motion(60.0, walk[:120], q, extra={"contacts": np.zeros((120, 2), dtype=bool)})
        clips.append(PackClip("cmu_actions", name, "walking", "", motion))
    return MotionLibrary.from_clips(clips)


def test_varied_motion_is_motion_and_repeats_by_its_seed(library: MotionLibrary) -> None:
    poses = torch.from_numpy(rotations.normalise(library.rotations.astype(np.float32)))
    q = poses[:40].expand(30, -1, -1, -1)
    root = torch.zeros(30, 40, 3)
    once, again = (vary(q, root, poses, STRONG, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(once[0], again[0])
    torch.testing.assert_close(once[0].norm(dim=-1), torch.ones(30, 40, 22), atol=1e-3, rtol=0)
    step = (once[0][:, 1:] * once[0][:, :-1]).sum(-1).abs()
    assert step.min() > np.cos(
        0.5 * 1.2
    )  # at most 70 degrees a frame at the end of a whirling limb: no jumps
    assert (once[0] - q).abs().max() > 0.5


def test_a_training_runs_through_its_three_runs_and_resumes_where_it_stopped(
    library: MotionLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_CHECK_WINDOWS", 2)
    short = RunSettings(steps=2, warm_up=1, validate_every=1)
    model = HpstmConfig(width=16, heads=2, hidden=16, layers=1)
    settings = TrainingSettings(batch=6, model=model, body=short, stream=short, spread=short)
    first, _ = train(library, settings, tmp_path)
    assert sorted(p.parent.name for p in tmp_path.glob("*/checkpoint.json")) == [
        "body",
        "spread",
        "stream",
    ]
    again, _ = train(
        library, settings, tmp_path
    )  # all three are finished: nothing is trained, the result is there
    for name, value in first.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)
    sampler = WindowSampler(library, library.select("train"), 0)
    one, two = (
        next(WindowStream(sampler, settings, 3, torch.Generator().manual_seed(4))) for _ in range(2)
    )
    torch.testing.assert_close(one.inputs[0], two.inputs[0])
