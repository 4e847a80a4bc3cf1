"""Weight files and training configurations that describe networks of absurd size."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

import torch
from safetensors.torch import save_file

from hpstm_ros.train.export import load_model
from pallas_ros.core.errors import PallasError
from pallas_ros.files.weights import weights_metadata
from pallas_ros.model.config import PallasConfig
from pallas_ros.model.step import load_model as load_pallas
from pallas_ros.train.config import read_config

MODELS = sorted((Path(__file__).resolve().parents[2] / "models").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("name", "number"), [("layers", 10**18), ("layers", 90), ("width", 10**6), ("hidden", 10**9)]
)
def test_weights_of_a_network_that_would_not_end_are_refused(
    name: str, number: int, tmp_path: Path
) -> None:
    """They are rejected before the network is built. benchmarks/fuzz.py found the hang with 10^18
    layers.
    """
    path = tmp_path / "weights.safetensors"
    shape = {"width": 1024, "hidden": 16, "layers": 1, name: number}
    save_file({"x": torch.zeros(2)}, path, {"config": json.dumps(shape)})
    with pytest.raises(PallasError, match="damaged weights") as refused:
        load_model(path)
    assert str(number) in str(refused.value)


def test_the_shape_may_be_in_the_description_too(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    document = {"kind": "pallas", "config": {"solver_blocks": 10**12}}
    save_file({"x": torch.zeros(2)}, path, {"pallas": json.dumps(document)})
    with pytest.raises(PallasError, match="'solver_blocks' is 1000000000000"):
        load_pallas(path)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_released_networks_are_far_within_the_limits(path: Path) -> None:
    weights_metadata(path)


@pytest.mark.parametrize("heads", [0, -4])
def test_a_network_without_heads_is_refused_in_one_sentence(heads: int, tmp_path: Path) -> None:
    with pytest.raises(PallasError, match=f"{heads} heads"):
        PallasConfig(heads=heads)
    path = tmp_path / "training.yaml"
    path.write_text(f"model: {{heads: {heads}}}\n")
    with pytest.raises(PallasError, match=f"{heads} heads"):
        read_config(path)
