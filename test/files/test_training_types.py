"""Wrong types in the configuration of the smoother's training."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from hpstm_ros.train.train_command import training_settings
from pallas_ros.core.errors import PallasError
from pallas_ros.train.loop import LoopSettings


@pytest.mark.parametrize("value", ["many", "[3]", "{a: 1}", "null", "2.5", "'3'", "2026-01-01"])
@pytest.mark.parametrize("name", ["batch", "steps"])
def test_a_number_of_another_type_is_named(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{name}: {value}\n")
    with pytest.raises(PallasError, match=name):
        training_settings(path)


@pytest.mark.parametrize("text", ["3", "- batch", "text", "1: 2", "? [a]\n: 1"])
def test_a_configuration_is_a_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(PallasError, match=r"c\.yaml"):
        training_settings(path)


def test_only_the_runs_of_hpstm_can_have_no_steps(tmp_path: Path) -> None:
    """Such a run is skipped; other models would be exported untrained."""
    path = tmp_path / "c.yaml"
    path.write_text("spread: {steps: 0}\n")
    assert training_settings(path).spread.steps == 0
    path.write_text("spread: {steps: -1}\n")
    with pytest.raises(PallasError, match="steps is -1, must be from 0"):
        training_settings(path)
    with pytest.raises(ValueError, match="steps is 0, must be from 1"):
        LoopSettings(steps=0)
