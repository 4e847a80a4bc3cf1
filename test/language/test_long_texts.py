"""Texts that are longer than what the encoders read."""

from pathlib import Path

import pytest

from hpstm_ros.generation import known_texts
from hpstm_ros.generation.poses import TOKENS
from hpstm_ros.language.encoder import MAX_TOKENS, TextEncoder, ignored_warning
from pallas_ros import cli

SHORT = "a person waves with the right hand"


def test_the_end_that_is_not_read_is_named() -> None:
    encoder = TextEncoder.default()
    start = " ".join(["walk"] * (MAX_TOKENS - 2))
    assert encoder.ignored(start) == ""
    assert encoder.ignored(f"{start} and then wave") == "and then wave"
    row = " ".join(["walk"] * (TOKENS - 1))
    assert encoder.ignored(row, TOKENS) == ""
    assert encoder.ignored(f"{row} quickly", TOKENS) == "quickly"


def test_what_is_ignored_changes_nothing() -> None:
    encoder = TextEncoder.default()
    start = " ".join(["walk"] * (MAX_TOKENS - 2))
    a, b = encoder.encode([start, f"{start} and then wave"])
    assert abs(float(a @ b) - 1) < 1e-6


def test_a_request_that_is_not_read_to_its_end_has_a_warning() -> None:
    """Regression: a text was cut without a word."""
    assert known_texts.warning(SHORT) == ""
    warning = known_texts.warning("a person walks forward " * 20 + "and waves")
    assert "it is ignored from '" in warning
    assert ignored_warning("") == ""


def test_the_poses_read_less(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"{'raise both hands and ' * 5}bow"
    words = ["generate", str(tmp_path / "pose.npz"), text, "--seconds", "1", "--model", "pose"]
    assert cli.main(words) == 0
    assert "it is ignored from '" in capsys.readouterr().out
