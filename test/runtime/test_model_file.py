"""A model file that does not match, or whose description is wrong, is rejected with one
sentence.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SHINS
from pallas_ros.runtime.model_file import UNSIGNED, ModelFile, _check_age, sign

Tensors = dict[str, list[Any]]


def write(
    path: Path, inputs: Tensors, outputs: Tensors, kind: int = TensorProto.FLOAT, **metadata: Any
) -> Path:
    """Write a signed graph that copies its first input to every output."""
    nodes = [helper.make_node("Identity", [next(iter(inputs))], [name]) for name in outputs]
    graph = helper.make_graph(
        nodes,
        "copy",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(
        model, {"pallas": json.dumps({"kind": "copy", "sha256": UNSIGNED, **metadata})}
    )
    path.write_bytes(sign(model.SerializeToString()))
    return path


def refusal(path: Path, **expect: Any) -> str:
    with pytest.raises(PallasError) as caught:
        ModelFile.load(path, expect)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


def test_reads_its_contents(small_model: Path) -> None:
    model = ModelFile.load(
        small_model, {"kind": "small", "rate_hz": 60.0, "joints": ("pelvis", "head")}
    )
    assert model.inputs == {"imu": (12,)}
    assert model.outputs == {"pose": (6,), "energy": (1,)}
    assert model.states == {"window": (8, 16), "frame": (1,), "previous": (12,)}
    assert model.fixed_batch is None
    assert (
        model.metadata["opset"] == 18 and model.metadata["parameters"] == 12 * 16 + 16 + 16 * 6 + 6
    )


def test_contains_no_information_on_the_build_machine(small_model: Path) -> None:
    data = small_model.read_bytes()
    assert str(Path(__file__).parent).encode() not in data and b"site-packages" not in data


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ({"rate_hz": 100}, ["rate_hz", "60", "100"]),
        ({"kind": "pallas"}, ["kind", "small", "pallas"]),
        ({"joints": ("pelvis", "neck")}, ["joints", "head", "neck"]),
        ({"sites": ("waist", "neck")}, ["sites", "1", "2"]),
    ],
)
def test_a_model_for_another_configuration(
    small_model: Path, expect: dict[str, Any], words: list[str]
) -> None:
    text = refusal(small_model, **expect)
    assert all(word in text for word in words), text


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    assert "not an ONNX model" in refusal(tmp_path / "text.onnx")
    model = onnx.load_from_string(
        write(tmp_path / "ok.onnx", {"x": ["batch", 2]}, {"y": ["batch", 2]}).read_bytes()
    )
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    assert "pallas export" in refusal(tmp_path / "bare.onnx")


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_changed_byte_is_noticed(
    small_model: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(small_model.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("changed") / "changed.onnx"
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ({"x": ["batch", 2], "state_a": ["batch", 2]}, {"y": ["batch", 2]}, "no 'next_a'"),
        ({"x": ["batch", 2]}, {"y": ["batch", 2], "next_a": ["batch", 2]}, "no 'state_a'"),
        ({"x": ["batch", 2], "state_a": ["batch", 3]}, {"next_a": ["batch", 2]}, "goes in as"),
        ({"x": ["n", 2]}, {"y": ["n", 2]}, "has shape"),
        ({"x": ["batch", "n"]}, {"y": ["batch", "n"]}, "has shape"),
        ({"x": ["batch", 10_001, 1000]}, {"y": ["batch", 10_001, 1000]}, "more than 10000000"),
        (
            {"x": ["batch", 2], "state_a": ["batch", 2**40]},
            {"y": ["batch", 2], "next_a": ["batch", 2**40]},
            "more than 10000000",
        ),
        ({"x": [2, 2], "z": [3, 2]}, {"y": [2, 2]}, "batch axes"),
    ],
)
def test_shapes_that_are_no_stream(
    tmp_path: Path, inputs: Tensors, outputs: Tensors, words: str
) -> None:
    assert words in refusal(write(tmp_path / "odd.onnx", inputs, outputs))


@pytest.mark.parametrize(
    ("count", "numbers", "words"), [(50, 1_000_000, "more than 10000000"), (500, 1, "than 200")]
)
def test_many_states_are_refused(tmp_path: Path, count: int, numbers: int, words: str) -> None:
    """Regression: only the size of each state was limited, so that many could fill the memory."""
    inputs = {f"state_{k}": ["batch", numbers] for k in range(count)}
    outputs = {f"next_{k}": ["batch", numbers] for k in range(count)}
    assert words in refusal(write(tmp_path / "states.onnx", inputs, {"y": ["batch", numbers]}))
    given = {"x": ["batch", numbers]}
    assert words in refusal(write(tmp_path / "outputs.onnx", given, outputs))


def test_a_model_without_outputs_or_inputs_is_refused(tmp_path: Path) -> None:
    assert "output" in refusal(write(tmp_path / "odd.onnx", {"x": ["batch", 2]}, {}))
    model = onnx.load(write(tmp_path / "odd.onnx", {"x": ["batch", 2]}, {"y": ["batch", 2]}))
    del model.graph.input[:]
    helper.set_model_props(model, {"pallas": json.dumps({"kind": "copy", "sha256": UNSIGNED})})
    (tmp_path / "odd.onnx").write_bytes(sign(model.SerializeToString()))
    refusal(tmp_path / "odd.onnx")


def test_other_types_than_float32(tmp_path: Path) -> None:
    assert "float32" in refusal(
        write(
            tmp_path / "double.onnx",
            {"x": ["batch", 2]},
            {"y": ["batch", 2]},
            kind=TensorProto.DOUBLE,
        )
    )


def test_a_fixed_batch_serves_only_itself(tmp_path: Path) -> None:
    model = ModelFile.load(write(tmp_path / "two.onnx", {"x": [2, 3]}, {"y": [2, 3]}))
    model.check_batch(2)
    with pytest.raises(PallasError, match="exported for 2"):
        model.check_batch(1)


def test_export_leaves_nothing_behind_when_it_fails(
    tmp_path: Path, small_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pallas_ros.torch_runtime import backend as torch_backend

    def broken(data: bytes) -> bytes:
        return data[: len(data) // 2]

    monkeypatch.setattr(torch_backend, "sign", broken)
    with pytest.raises(PallasError):
        torch_backend.export_stream(small_step, tmp_path / "half.onnx", {"kind": "small"})
    assert list(tmp_path.iterdir()) == []


def test_data_read_is_data_run(tmp_path: Path) -> None:
    """The file is read once: replacing it afterwards has no effect (no second read, no external
    data).
    """
    from pallas_ros.runtime.onnxruntime_backend import OnnxRuntimeStream

    path = write(tmp_path / "copy.onnx", {"x": ["batch", 2]}, {"y": ["batch", 2]})
    model = ModelFile.load(path)
    path.write_text("gone")
    stream = OnnxRuntimeStream(model)
    np.testing.assert_array_equal(stream.step({"x": np.array([[1.0, 2.0]])})["y"], [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("created", "sites", "older"),
    [
        ("2026-11-21", None, True),
        ("2026-11-28", ["left_shin"], True),
        ("2026-11-29", [], False),  # an ablation
        ("2026-11-29", ["left_shin"], False),
        ("2027-01-01", ["left_shin"], False),
        (None, ["left_shin"], True),
    ],
)
def test_an_older_pallas_is_refused_in_one_sentence(
    created: str | None, sites: list[str] | None, older: bool, tmp_path: Path
) -> None:
    """Regression: files of 0.1 and 0.2, whose shins lean, ran silently."""
    metadata = {"created": created, "optional_sites": sites}
    stated = {key: value for key, value in metadata.items() if value is not None}
    if not older:
        _check_age(tmp_path, stated)
        return
    with pytest.raises(PallasError, match=r"is of version 0\.2 or older"):
        _check_age(tmp_path, stated)


def test_a_clock_that_is_wrong_at_the_export_makes_no_model_older(tmp_path: Path) -> None:
    _check_age(tmp_path, {"created": "1970-01-01", "optional_sites": [], "shins": SHINS})


def test_the_released_pallas_is_not_older() -> None:
    path = Path(__file__).resolve().parents[2] / "models" / "pallas.onnx"
    assert ModelFile.load(path, {"kind": "pallas"}).metadata["optional_sites"]
