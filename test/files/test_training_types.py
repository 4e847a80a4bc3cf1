"""Wrong types in the configuration of the smoother's training."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from hpstm_ros.train.train_command import training_settings
from pallas_ros.core.errors import PallasError


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
