"""All backends implement the same stream: same values, same behaviour."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pallas_ros.body.errors import PallasError
from pallas_ros.runtime import Stream, open_stream
from pallas_ros.runtime.model_file import ModelFile
from pallas_ros.torch_runtime.backend import TorchStream

BACKENDS = ["onnxruntime", "torch", "tensorrt"]
Opener = Callable[..., Stream]


@pytest.fixture(params=BACKENDS)
def open_small(request: pytest.FixtureRequest, small_model: Path, small_step: object) -> Opener:
    """Open the small model on one backend; skip TensorRT if no GPU runs it."""

    def opener(batch: int = 1) -> Stream:
        if request.param == "torch":
            return TorchStream(ModelFile.load(small_model), small_step, batch)  # type: ignore[arg-type]
        try:
            return open_stream(small_model, request.param, batch)
        except PallasError as error:
            if request.param != "tensorrt":
                raise
            pytest.skip(str(error))

    return opener


def recording(frames: int, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(frames, batch, 12)).astype(np.float32)


def run(stream: Stream, frames: np.ndarray) -> np.ndarray:
    return np.stack([stream.step({"imu": frame})["pose"].copy() for frame in frames])


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_backends_agree_with_torch(
    open_small: Opener, small_model: Path, small_step: object, batch: int
) -> None:
    frames = recording(150, batch)  # past the window and the counter's period
    reference = TorchStream(ModelFile.load(small_model), small_step, batch)  # type: ignore[arg-type]
    np.testing.assert_allclose(run(open_small(batch), frames), run(reference, frames), atol=1e-4)


def test_bodies_of_a_batch_do_not_mix(open_small: Opener) -> None:
    frames = recording(20, 3)
    together = run(open_small(3), frames)
    alone = run(open_small(1), frames[:, 1:2])
    np.testing.assert_allclose(together[:, 1:2], alone, atol=1e-5)


def test_reset_starts_again_at_either_phase(open_small: Opener) -> None:
    frames = recording(12)
    stream = open_small()
    first = run(stream, frames)
    for steps in (0, 1, 2, 5):
        run(stream, recording(steps)) if steps else None
        stream.reset()
        np.testing.assert_array_equal(run(stream, frames), first)


def test_warm_up_leaves_no_trace(open_small: Opener) -> None:
    frames = recording(5)
    fresh = open_small()
    warmed = open_small()
    warmed.warm_up(7)
    np.testing.assert_array_equal(run(warmed, frames), run(fresh, frames))


def test_bad_input_is_refused_and_leaves_the_state(open_small: Opener) -> None:
    frames = recording(6)
    undisturbed = open_small()
    stream = open_small()
    expected = run(undisturbed, frames)
    poisoned = frames[0].copy()
    poisoned[0, 4] = np.nan
    run(stream, frames[:3])
    for bad, word in (
        ({"imu": poisoned}, "finite"),
        ({"imu": np.zeros((1, 11), np.float32)}, "shape"),
        ({}, "missing"),
    ):
        with pytest.raises(PallasError, match=word):
            stream.step(bad)
    np.testing.assert_array_equal(run(stream, frames[3:]), expected[3:])


def test_shapes_and_metadata_are_available(open_small: Opener) -> None:
    stream = open_small(2)
    assert stream.inputs == {"imu": (2, 12)}
    assert stream.outputs == {"pose": (2, 6), "energy": (2, 1)}
    assert stream.metadata["kind"] == "small" and stream.batch == 2
    assert {
        name: array.shape for name, array in stream.step({"imu": np.zeros((2, 12))}).items()
    } == stream.outputs


def test_onnxruntime_writes_into_the_same_buffers(small_model: Path) -> None:
    stream = open_stream(small_model, "onnxruntime")
    addresses = {stream.step({"imu": frame})["pose"].ctypes.data for frame in recording(4)}
    assert len(addresses) == 1 and addresses.pop() % 64 == 0


def test_auto_falls_back_with_one_line(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pallas_ros.runtime import tensorrt_backend

    def no_gpu(*_: object, **__: object) -> None:
        raise PallasError("no NVIDIA GPU")

    monkeypatch.setattr(tensorrt_backend, "TensorRtStream", no_gpu)
    lines: list[str] = []
    stream = open_stream(small_model, log=lines.append)
    assert stream.backend == "onnxruntime"
    assert len(lines) == 1 and "no NVIDIA GPU" in lines[0]


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [
        ({"backend": "cuda"}, "backend"),
        ({"batch": 0}, "batch"),
        ({"batch": 17}, "batch"),
        ({"threads": 0}, "threads"),
    ],
)
def test_wrong_settings_are_refused(
    small_model: Path, kwargs: dict[str, object], word: str
) -> None:
    with pytest.raises(PallasError, match=word):
        open_stream(small_model, **({"backend": "onnxruntime"} | kwargs))  # type: ignore[arg-type]


def test_the_former_name_of_the_torch_backend_is_the_same_module() -> None:
    former = importlib.import_module("pallas_ros.runtime.torch_backend")
    assert former.TorchStream is TorchStream


def test_no_torch_is_one_sentence(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pallas_ros.torch_runtime.backend", None)
    with pytest.raises(PallasError, match="needs PyTorch"):
        open_stream(small_model, "torch")
