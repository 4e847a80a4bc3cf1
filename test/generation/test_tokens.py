"""The token generator with a tiny network: motion from weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hpstm_ros.generation import heading_frames, representation, tokens
from hpstm_ros.generation.codebook import Codebook
from hpstm_ros.generation.concepts import Concept
from hpstm_ros.generation.masked import HIDDEN, Filling
from hpstm_ros.generation.prediction import Predictor
from hpstm_ros.generation.request import HandTarget, Request, check_limits, limits
from hpstm_ros.generation.stream import bodies_of
from hpstm_ros.generation.text import TEXT
from hpstm_ros.generation.tokens import FRAMES_PER_TOKEN, PAST, TokenGenerator, TokenSettings
from hpstm_ros.model.hpstm_gen import HpstmGen, HpstmGenConfig
from hpstm_ros.model.tokens import MaskedConfig, MaskedTransformer, VqConfig, VqVae
from hpstm_ros.train import forgetting
from hpstm_ros.train.forgetting import Sets, forget_codes, refuse
from hpstm_ros.train.tokens_export import export_tokens, load_tokens
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.imu.motions import demo_motion

CODES = 24


def networks() -> tuple[VqVae, MaskedTransformer]:
    """Tiny, randomly initialised networks."""
    torch.manual_seed(3)
    vq = VqVae(VqConfig(138, width=8, codes=CODES, code_width=4))
    masked = MaskedTransformer(MaskedConfig(CODES, TEXT, tokens=24, width=16, heads=2, layers=1))
    return vq.eval(), masked.eval()


def words(texts: list[str]) -> np.ndarray:
    """Replaces the sentence encoder: values that depend on the text."""
    out = np.zeros((len(texts), TEXT), dtype=np.float32)
    for row, text in zip(out, texts, strict=True):
        row[: len(text)] = [ord(c) / 100 for c in text]
    return out


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Avoid loading the real encoder."""
    monkeypatch.setattr(tokens, "text_vectors", words)


def nothing(stage: str, fraction: float) -> None:
    """Ignore progress."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported files."""
    path = tmp_path_factory.mktemp("tokens")
    export_tokens(*networks(), path, {})
    return path


def generator(folder: Path, codebook: str = "tokens_codebook.safetensors") -> TokenGenerator:
    """A generator that uses these files."""
    files = (folder / f"tokens{part}.onnx" for part in ("", "_encoder", "_decoder"))
    return TokenGenerator(TokenSettings(*map(str, files), str(folder / codebook), Filling(4)))


def test_motion_has_the_requested_length(folder: Path) -> None:
    made = generator(folder)
    for seconds in (1.0, 2.0, 3.1):
        found = made.generate(Request("wave", seconds, seed=1, candidates=2), nothing)
        assert found.shape == (2, round(30 * seconds), 137)
        assert np.isfinite(found).all()
        assert np.allclose(found[:, 0, :2], 0, atol=1e-6)
    a, b = (made.generate(Request("wave", 2.0, seed=7), nothing) for _ in range(2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, made.generate(Request("wave", 2.0, seed=8), nothing))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    settings = TokenSettings(str(tmp_path / "tokens.onnx"))
    with pytest.raises(PallasError, match="pallas train tokens"):
        TokenGenerator(settings)


def test_known_tokens_stay(folder: Path) -> None:
    known = np.full(15, HIDDEN)
    known[:5] = [3, 1, 4, 1, 5]
    drawn = generator(folder).draw(known, words(["wave"]), seed=0)
    assert drawn[0, :5].tolist() == [3, 1, 4, 1, 5]


def test_a_start_is_continued(folder: Path) -> None:
    made = generator(folder)
    start = demo_motion(duration=6.0)
    found = made.generate(Request("wave", 2.0, start=start), nothing)
    assert found.shape == (1, 60, 137)
    assert not np.array_equal(found, made.generate(Request("wave", 2.0), nothing))


def test_a_moving_start_is_continued_where_it_ends(folder: Path) -> None:
    """Regression: the motion began in the frame of the start's first frame, a second earlier."""
    made = generator(folder)
    ahead = np.zeros((40, 138), np.float32)
    ahead[:, heading_frames.STEP.start] = 0.04
    ahead[:, heading_frames.TURN] = 0.02
    ahead[:, heading_frames.HEIGHT] = 0.95
    ahead[:, heading_frames.R6D] = np.tile([1.0, 0, 0, 0, 1, 0], 22)
    start = representation.to_motion(heading_frames.to_world(ahead))
    made.frames = lambda codes: np.resize(ahead, (4 * len(codes), 138))
    found = made.generate(Request("walk", 1.0, start=start), nothing)[0]
    q, root, _ = representation.decode(found[0])
    np.testing.assert_allclose(root[:2], [0.04, 0.0], atol=2e-3)
    np.testing.assert_allclose(rotations.heading(q[0]), 0.02, atol=1e-3)


def test_the_second_that_the_node_stores_is_continued(folder: Path) -> None:
    """Regression: it is two frames shorter than eight tokens, and was ignored."""
    made = generator(folder)
    predictor = Predictor()
    for body in bodies_of(demo_motion(duration=2.0)):
        predictor.push(body, body.stamp)
    start = predictor.past_at(predictor.newest)
    assert start is not None
    assert len(made._past(start)) == PAST // FRAMES_PER_TOKEN
    few = replace(start, positions=start.positions[:9], rotations=start.rotations[:9])
    assert not len(made._past(replace(few, extra=None)))


def test_what_runs_is_what_was_trained(folder: Path) -> None:
    vq, masked = networks()
    made = generator(folder)
    codes = torch.randint(0, CODES, (1, 10))
    with torch.no_grad():
        frames = vq.decode(torch.cat((codes, codes[:, -1:].expand(1, 14)), 1))[0, :40].numpy()
        sentence = torch.from_numpy(words(["wave"]))
        hidden = codes.clone()
        hidden[0, 4:] = CODES
        logits = masked(hidden.float(), torch.ones(1, 10), sentence).numpy()
        free = masked(hidden.float(), torch.ones(1, 10), torch.zeros_like(sentence)).numpy()
    np.testing.assert_allclose(made.frames(codes[0].numpy()), frames, atol=1e-4)
    shown = np.where(hidden.numpy() == CODES, HIDDEN, hidden.numpy())
    expected = free + 2.5 * (logits - free)
    # the file pads to the longest motion, which must not show
    np.testing.assert_allclose(made._logits(shown, sentence.numpy(), 2.5), expected, atol=1e-3)


def test_unsupported_requests_are_rejected(folder: Path) -> None:
    made = generator(folder)
    with pytest.raises(PallasError, match=r"at most 3\.2 s"):
        made.generate(Request("wave", 4.0), nothing)
    hand = HandTarget("left", (0.3, 0.2, 1.2), 1.0)
    with pytest.raises(PallasError, match="no hand targets"):
        made.generate(Request("wave", 2.0, hands=(hand,)), nothing)


def test_unlearned_codebook_changes_what_uses_it_alone(folder: Path) -> None:
    codebook = Codebook.load(folder / "tokens_codebook.safetensors")
    bad = np.array([0, 1, 2])
    good = np.array([3, 4, 5, 6])
    forgotten = forget_codes(codebook, Sets([bad] * 3, [good] * 4), 3, "violence")
    forgotten.save(folder / "unlearned.safetensors")
    assert sorted(forgotten.document["replaced"]) == [0, 1, 2]
    before = generator(folder)
    after = generator(folder, "unlearned.safetensors")
    assert np.array_equal(before.frames(good), after.frames(good))
    assert np.abs(before.frames(bad) - after.frames(bad)).max() > 1e-4
    hidden = np.full(9, HIDDEN)
    same = (made.draw(hidden, words(["wave"]), seed=2) for made in (before, after))
    assert np.array_equal(*same)


def test_codebook_of_another_model_is_refused(folder: Path) -> None:
    Codebook(np.zeros((CODES, 4), np.float32), "other").save(folder / "other.safetensors")
    with pytest.raises(PallasError, match="codebook of another model"):
        generator(folder, "other.safetensors")
    with pytest.raises(PallasError, match="not a codebook"):
        generator(folder, "tokens.safetensors")


def test_weights_there_and_back(folder: Path) -> None:
    vq, masked, document = load_tokens(folder / "tokens.safetensors")
    for found, made in zip((vq, masked), networks(), strict=True):
        for name, value in made.state_dict().items():
            assert torch.equal(found.state_dict()[name], value)
    assert document["model"] == generator(folder).model
    with pytest.raises(PallasError, match="not the weights of a token generator"):
        load_tokens(folder / "tokens_codebook.safetensors")


def test_refusal_equalises_pairs_and_keeps_other_requests() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 6)
    neutral = torch.randn(12, 8)
    concept = torch.zeros(8)
    concept[2] = 1.5
    before = layer(neutral).detach()
    apart = (layer(neutral + concept) - layer(neutral)).norm(dim=-1).mean()
    refuse(layer, neutral + concept, neutral, 1)
    moved = (layer(neutral + concept) - layer(neutral)).norm(dim=-1).mean()
    assert moved < 1e-5 < apart
    kept = (layer(neutral) * before).sum() / (layer(neutral).norm() * before.norm())
    assert kept > 0.7


def test_flow_is_independent_of_the_removed_concept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "text_vectors", words)
    torch.manual_seed(0)
    model = HpstmGen(HpstmGenConfig(text=TEXT, width=16, stem=8, heads=2, hidden=16, layers=1))
    concept = Concept("dance", (("a person dances", "a person stands"), ("dancing", "walking")))

    def heard() -> float:
        sides = (forgetting._requests(concept)[k] for k in (0, 1))
        a, b = (model.text(torch.cat((x, torch.ones(len(x), 1)), -1)) for x in sides)
        return float((a - b).detach().norm(dim=-1).max())

    before = heard()
    forgetting.without_concept(model, concept, 2)
    assert heard() < 1e-4 < before


def test_the_released_generator_is_as_long_as_stated() -> None:
    assert limits("tokens").seconds[1] == TokenGenerator().longest_s


def test_a_start_shortens_the_longest_request() -> None:
    """Regression: 10 s were accepted, and refused when the generation ran."""
    start = demo_motion(duration=2.0)
    few = replace(start, positions=start.positions[:9], rotations=start.rotations[:9], extra=None)
    longest = limits("tokens", start).seconds[1]
    assert 0 <= TokenGenerator().longest_s - PAST / representation.FPS - longest < 0.1
    for accepted in (Request("wave", 8.9, start=start), Request("wave", 10.0, start=few)):
        check_limits(accepted, "tokens")
    with pytest.raises(
        PallasError, match=r"after a start is 9\.5 s, but must be from 0\.5 to 8\.9 s"
    ):
        check_limits(Request("wave", 9.5, start=start), "tokens")
    check_limits(Request("wave", 30.0, start=start), "flow")


@pytest.mark.parametrize("shape", [(CODES - 1, 4), (CODES, 5)])
def test_a_codebook_of_another_shape_is_refused(folder: Path, shape: tuple[int, int]) -> None:
    """Regression: the shape was never compared with that of the model."""
    name = generator(folder).model
    Codebook(np.zeros(shape, np.float32), name).save(folder / "shape.safetensors")
    with pytest.raises(PallasError, match=r"codes, but the model has|unexpected shape"):
        generator(folder, "shape.safetensors").frames(np.zeros(2, np.int64))
