"""The length-aware generator with a tiny network: unlocked subspaces, and motion from weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hpstm_ros.generation import latent, representation
from hpstm_ros.generation.flow import past_of
from hpstm_ros.generation.latent import SHORTEST_S, LatentGenerator
from hpstm_ros.generation.request import HandTarget, Request, limits
from hpstm_ros.generation.text import TEXT
from hpstm_ros.model.latent import LatentConfig, LatentModel
from hpstm_ros.train.latent_export import export, load_latent
from pallas_ros.body.errors import PallasError
from pallas_ros.imu.motions import demo_motion

CONFIG = LatentConfig(
    subspaces=6,
    size=4,
    stem=8,
    width=16,
    heads=2,
    hidden=16,
    layers=1,
    flow_width=16,
    flow_heads=2,
    flow_hidden=16,
    flow_layers=1,
)


def network(config: LatentConfig = CONFIG) -> LatentModel:
    """Randomly initialised, without zeros."""
    torch.manual_seed(3)
    model = LatentModel(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def words(texts: list[str]) -> np.ndarray:
    """Replaces the sentence encoder: values that depend on the text."""
    out = np.zeros((len(texts), TEXT), dtype=np.float32)
    for row, text in zip(out, texts, strict=True):
        row[: len(text)] = [ord(c) / 100 for c in text]
    return out


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Avoid loading the real encoder."""
    monkeypatch.setattr(latent, "text_vectors", words)


def nothing(stage: str, fraction: float) -> None:
    """Ignore progress."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported files."""
    path = tmp_path_factory.mktemp("latent")
    export(network(), path, {})
    return path


@pytest.fixture(scope="module")
def made(folder: Path) -> LatentGenerator:
    """A generator that uses these files."""
    return LatentGenerator(folder / "latent.onnx")


def test_a_longer_motion_unlocks_more_subspaces() -> None:
    layout = network().vae.layout
    lengths = torch.tensor([[30.0], [44.0], [45.0], [89.0], [90.0]])
    assert layout.unlocked(lengths).sum(1).tolist() == [2, 2, 3, 5, 6]
    fixed = network(LatentConfig(**{**CONFIG.as_dict(), "fixed": True})).vae.layout
    assert fixed.unlocked(lengths).sum(1).tolist() == [6] * 5


@torch.no_grad()
def test_what_is_locked_does_not_matter() -> None:
    model = network()
    length = torch.tensor([[50.0]])
    text = torch.from_numpy(words(["wave"]))
    state = torch.randn(1, 6, 4)
    other = state.clone()
    other[:, 3:] = 100.0
    tau = torch.full((1, 1), 0.4)
    whole = torch.ones(1, 1)
    found = model.flow(state, tau, text, length, whole)
    assert not found[:, 3:].any()
    torch.testing.assert_close(model.flow(other, tau, text, length, whole), found)
    torch.testing.assert_close(model.frames(other, length), model.frames(state, length))
    mean, _ = model.vae.encode(torch.randn(1, 50, 138), length)
    assert mean[:, :3].any()
    assert not mean[:, 3:].any()


@torch.no_grad()
def test_padding_does_not_affect_the_motion() -> None:
    """A batch is padded to its longest motion in training and to the maximum length at run time."""
    model = network()
    length = torch.tensor([[50.0]])
    frames = torch.randn(1, 50, 138)
    padded = torch.cat((frames, torch.randn(1, 40, 138)), 1)
    found, _ = model.vae.encode(frames, length)
    same, _ = model.vae.encode(padded, length)
    torch.testing.assert_close(found, same, atol=1e-5, rtol=1e-4)
    short = model.vae.decode(found, length, 50)
    torch.testing.assert_close(model.vae.decode(found, length, 90)[:, :50], short)


def test_the_length_affects_the_motion() -> None:
    """A short motion is not a truncated long one."""
    model = network()
    state = torch.randn(1, 6, 4)
    short = model.frames(state, torch.tensor([[60.0]]))
    long = model.frames(state, torch.tensor([[90.0]]))
    assert (short - long)[:, :60].abs().max() > 1e-3


def test_motion_of_the_length_that_was_asked_for(made: LatentGenerator) -> None:
    for seconds in (1.0, 2.0, 2.97):
        found = made.generate(Request("wave", seconds, seed=1, candidates=2), nothing)
        assert found.shape == (2, round(30 * seconds), 137)
        assert np.isfinite(found).all()
        assert np.allclose(found[:, 0, :2], 0, atol=1e-6)
        assert not np.array_equal(found[0], found[1])


def test_a_seed_gives_the_same_motion(made: LatentGenerator) -> None:
    a, b = (made.generate(Request("wave", 2.0, seed=7, heun=True), nothing) for _ in range(2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, made.generate(Request("wave", 2.0, seed=8), nothing))
    assert not np.array_equal(a, made.generate(Request("walk", 2.0, seed=7), nothing))


def test_what_runs_is_what_was_trained(made: LatentGenerator) -> None:
    model = network()
    rng = np.random.default_rng(0)
    state = rng.standard_normal((1, 6, 4), dtype=np.float32)
    text = words(["wave"])
    end, frames = made._evaluate(state, 0.3, text, 70.0)
    length = torch.tensor([[70.0]])
    given = torch.from_numpy(state)
    with torch.no_grad():
        expected = model.flow(
            given, torch.full((1, 1), 0.3), torch.from_numpy(text), length, torch.ones(1, 1)
        )
        np.testing.assert_allclose(end, expected.numpy(), atol=1e-4)
        np.testing.assert_allclose(frames, model.frames(given, length).numpy(), atol=1e-4)


def test_a_start_is_continued_without_a_jump(made: LatentGenerator) -> None:
    start = demo_motion(duration=3.0)
    found = made.generate(Request("wave", 2.0, start=start), nothing)[0]
    last = past_of(Request(start=start))[-1]
    alone = made.generate(Request("wave", 2.0), nothing)[0]
    assert np.abs(found[0] - last).max() < 0.05 * np.abs(alone[0] - last).max() + 1e-3
    np.testing.assert_allclose(found[20:], alone[20:])


def test_what_it_cannot_do_is_refused(made: LatentGenerator, tmp_path: Path) -> None:
    for seconds in (0.5, 4.0):
        with pytest.raises(PallasError, match="generates 1 to 3 s"):
            made.generate(Request("wave", seconds), nothing)
    hand = HandTarget("left", (0.3, 0.2, 1.2), 1.0)
    with pytest.raises(PallasError, match="no hand targets"):
        made.generate(Request("wave", 2.0, hands=(hand,)), nothing)
    with pytest.raises(PallasError, match="pallas train latent"):
        LatentGenerator(tmp_path / "latent.onnx")


def test_weights_there_and_back(folder: Path) -> None:
    model, document = load_latent(folder / "latent.safetensors")
    for name, value in network().state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert document["config"] == CONFIG.as_dict()
    with pytest.raises(PallasError, match="not trained weights"):
        load_latent(folder / "latent.onnx")


def test_the_released_weights_give_a_body_that_moves() -> None:
    """Real weights with a replacement for the sentence encoder give a standing person."""
    generator = LatentGenerator()
    assert limits("latent").seconds == (SHORTEST_S, generator.longest_s)
    motion = generator.generate(Request("walk", 3.0, 1), nothing)
    joints = representation.positions(motion)[0]
    assert joints.shape == (90, 22, 3)
    pelvis = joints[:, 0, 2]
    assert 0.3 < pelvis.min() <= pelvis.max() < 1.5
    assert np.ptp(joints, axis=0).max() > 0.02
