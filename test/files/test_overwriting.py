"""A command never writes over its own input."""

from pathlib import Path

import pytest

from pallas_ros.cli import main
from pallas_ros.core.errors import PallasError
from pallas_ros.core.resources import share
from pallas_ros.files.overwriting import check_outputs

COMMANDS = (
    "report a.mcap -o a.mcap",
    "report a.npz -o link.npz",
    "process a.npz a.npz",
    "export-motion a.bvh a.bvh",
    "calibrate a.yaml --procedure known_pose --pose a.yaml --simulate",
    "score a.npz sit --json a.npz",
    "score a.npz sit --scene a.yaml --json a.yaml",
    "search sit a.npz --json a.npz",
    "search --like a.png a.npz --sheet a.png",
    "smooth a.npz a.npz",
    "dynamics a.npz a.npz --mass 75",
    "dynamics a.npz b.npz --mass 75 --report a.npz",
    "retarget a.npz a.npz",
    "retarget a.npz b.npz --json a.npz",
    "retarget --robot a.yaml --describe a.yaml",
    "generate a.npz sit --start a.npz",
    "unlearn a.safetensors --weights a.safetensors",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_to_overwrite_what_they_read(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    for suffix in ("npz", "mcap", "bvh", "yaml", "png", "safetensors"):
        (tmp_path / f"a.{suffix}").write_text("input")
    (tmp_path / "link.npz").symlink_to("a.npz")
    assert main(command.split()) == 2
    assert "is an input of this command and would be overwritten" in capsys.readouterr().err
    assert {path.read_text() for path in tmp_path.iterdir()} == {"input"}


def test_the_files_of_a_bag_are_inputs(tmp_path: Path):
    (tmp_path / "a.mcap").touch()
    with pytest.raises(PallasError, match="would be overwritten"):
        check_outputs([tmp_path / "a.mcap"], [tmp_path])
    check_outputs([tmp_path / "a.html", tmp_path / "b.mcap", None], [tmp_path, None, "none"])


RELEASED = (
    "unlearn models/tokens_codebook_unlearned.safetensors",
    "unlearn link/tokens_codebook_unlearned.safetensors",
    "unlearn other.safetensors",
    "unlearn models --model flow --method refusal --weights mine.safetensors",
    "unlearn models --method refusal --weights mine.safetensors",
    "unlearn link --method refusal --weights mine.safetensors",
    "train pallas --out models",
    "train violence --out models",
    "train tokens --out link",
)


@pytest.mark.parametrize("command", RELEASED)
def test_released_models_are_not_overwritten(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """`pallas unlearn` with other weights, and `pallas train`, replaced files in models/."""
    models = tmp_path / "models"
    models.mkdir()
    (tmp_path / "config").symlink_to(share() / "config")
    for name in ("tokens_codebook_unlearned", "tokens", "hpstm_gen"):
        (models / f"{name}.safetensors").write_text("released")
    (tmp_path / "mine.safetensors").write_text("input")
    (tmp_path / "link").symlink_to("models")
    (tmp_path / "other.safetensors").symlink_to("models/tokens_codebook_unlearned.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PALLAS_SHARE", str(tmp_path))
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert "would be overwritten; give another" in error and "released" in error
    assert error.count("\n") == 1
    assert {path.read_text() for path in models.iterdir()} == {"released"}
