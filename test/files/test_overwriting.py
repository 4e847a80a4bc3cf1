"""A command never writes over its own input."""

from pathlib import Path

import pytest

from pallas_ros.cli import main
from pallas_ros.core.errors import PallasError
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
