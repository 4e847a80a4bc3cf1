"""`pallas unlearn` with tiny networks and a tiny library, and the ranges of related commands."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hpstm_ros.generation.codebook import Codebook
from hpstm_ros.generation.text import TEXT
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.model.tokens import MaskedConfig, MaskedTransformer, VqConfig, VqVae
from hpstm_ros.train import forgetting, tokens_export
from hpstm_ros.train.heading_windows import frames_of
from hpstm_ros.train.tokens_export import export_tokens
from pallas_ros import cli
from pallas_ros.body import rotations
from pallas_ros.data.library import LibraryClip, MotionLibrary

CODES = 24
FRAMES = 320


def small_library() -> MotionLibrary:
    """Three clips of random poses near standing."""
    rng = np.random.default_rng(0)
    turns = rng.normal(0, 0.25, (3 * FRAMES, 22, 3))
    clips = tuple(
        LibraryClip("cmu_full", name, "", "", "train", i * FRAMES, (i + 1) * FRAMES)
        for i, name in enumerate(("kick", "walk", "wave"))
    )
    return MotionLibrary(
        clips,
        np.round(np.asarray(rotations.from_rotvec(turns)) * 32767).astype(np.int16),
        np.tile(np.float32([0, 0, 0.9]), (3 * FRAMES, 1)),
        np.zeros((3 * FRAMES, 2), np.bool_),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny token generator whose codes all occur in the library."""
    torch.manual_seed(3)
    vq = VqVae(VqConfig(138, width=8, codes=CODES, code_width=4))
    masked = MaskedTransformer(MaskedConfig(CODES, TEXT, tokens=24, width=16, heads=2, layers=1))
    library = small_library()
    frames = torch.from_numpy(np.stack([frames_of(library, clip) for clip in library.clips]))
    with torch.no_grad():
        entries = vq.encoder(vq.normalised(frames)).reshape(-1, 4)
        vq.codebook.copy_(entries[:: len(entries) // CODES][:CODES])
    folder = tmp_path_factory.mktemp("model")
    export_tokens(vq.eval(), masked.eval(), folder, {"training": {"packs": ["cmu_full"]}})
    return folder


@pytest.fixture
def words(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that forgets kicks in a tiny token generator, without its output."""
    texts = {"kick": "a person kicks", "walk": "a person walks", "wave": "a person waves"}
    monkeypatch.setattr(MotionLibrary, "open", lambda *args, **options: small_library())
    monkeypatch.setattr(Descriptions, "open", lambda folder: Descriptions(texts))
    pairs = tmp_path / "kicks.yaml"
    pairs.write_text("name: kicks\npairs:\n  - [a person kicks, a person steps]\n")
    weights = str(model / "tokens.safetensors")
    return ["unlearn", "--pairs", str(pairs), "--weights", weights, "--data", str(tmp_path)]


def test_a_concept_is_unlearned_from_a_codebook(
    words: list[str], model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "without_kicks.safetensors"
    assert cli.main([*words, str(out), "--replace", "3", "--seed", "7"]) == 0
    before = Codebook.load(model / "tokens_codebook.safetensors")
    after = Codebook.load(out, before.model)
    changed = np.flatnonzero((before.entries != after.entries).any(axis=1))
    assert sorted(after.document["replaced"]) == changed.tolist()
    assert len(changed) == 3
    assert (after.document["concept"], after.document["seed"]) == ("kicks", 7)
    assert '"kicks"' in out.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "-1"], "the seed must be from 0"),
        (["--replace", "0"], "from 1 to 23"),
        (["--replace", "600"], "from 1 to 23"),
    ],
)
def test_wrong_numbers_are_refused_before_the_motion_is_encoded(
    words: list[str],
    tmp_path: Path,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Regression: a negative seed was a fault of the program, after minutes of encoding."""
    monkeypatch.setattr(forgetting, "forget_and_retain", lambda *args: pytest.fail("encoded"))
    out = tmp_path / "out.safetensors"
    assert cli.main([*words, str(out), *options]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_an_output_that_cannot_be_written_is_refused_first(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(forgetting, "forget_and_retain", lambda *args: pytest.fail("encoded"))
    (tmp_path / "file").write_text("")
    assert cli.main([*words, str(tmp_path / "file" / "out.safetensors")]) == 2
    assert "cannot be created" in capsys.readouterr().err


def test_a_concept_without_motion_writes_nothing(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "juggling.yaml"
    pairs.write_text("name: juggling\npairs:\n  - [a person juggles, a person stands]\n")
    out = tmp_path / "out.safetensors"
    assert cli.main([*words, str(out), "--pairs", str(pairs)]) == 2
    assert "nothing to unlearn from" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("seed", ["-1", str(10**20)])
def test_say_refuses_a_seed_that_no_message_holds(
    seed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["say", "wave", "--seed", seed]) == 2
    assert "the seed must be from 0" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["unlearning", "tokens", "latent"])
@pytest.mark.parametrize("seeds", ["0", "9"])
def test_evaluations_refuse_more_seeds_than_a_request_has(
    name: str, seeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", name, "--data", str(tmp_path), "--seeds", seeds]) == 2
    assert "1 to 8 --seeds" in capsys.readouterr().err


def test_notes_of_the_same_name_are_kept(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Regression: the card of the codebook replaced them."""
    monkeypatch.setattr(forgetting, "forget_and_retain", lambda *args: pytest.fail("encoded"))
    notes = tmp_path / "notes.md"
    notes.write_text("mine")
    assert cli.main([*words, str(tmp_path / "notes.safetensors")]) == 2
    assert "exists" in capsys.readouterr().err
    assert notes.read_text() == "mine"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_refusal_does_not_overwrite_its_weights(
    words: list[str], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: the folder was compared with the weights, not the files that are written."""
    before = contents(model)
    assert cli.main([*words, str(model), "--method", "refusal", "--rank", "1"]) == 2
    assert "is an input of this command" in capsys.readouterr().err
    assert contents(model) == before


def test_refusal_of_the_flow_does_not_overwrite_its_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "hpstm_gen.safetensors"
    weights.write_bytes(b"weights")
    command = ["unlearn", str(tmp_path), "--method", "refusal", "--model", "flow"]
    assert cli.main([*command, "--weights", str(weights)]) == 2
    assert "is an input of this command" in capsys.readouterr().err
    assert contents(tmp_path) == {weights.name: b"weights"}


def test_refusal_writes_the_files_that_are_checked(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: the current folder as output ended in a ValueError."""
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    assert cli.main([*words, ".", "--method", "refusal", "--rank", "1"]) == 0
    assert sorted(contents(Path())) == sorted(tokens_export.FILES)


def test_the_current_folder_is_no_codebook(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: it ended in a ValueError."""
    assert cli.main([*words, "."]) == 2
    assert "ends in .safetensors" in capsys.readouterr().err
