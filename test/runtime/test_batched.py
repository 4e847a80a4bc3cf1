"""A model that accepts any number of rows."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pallas_ros.body.errors import PallasError
from pallas_ros.runtime import BatchedStream, batched


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Batch sizes requested from a model that doubles its rows."""
    sizes: list[int] = []

    def opened(path: Path, backend: str, batch: int, expect: object) -> SimpleNamespace:
        buffer = np.zeros((batch, 2), np.float32)

        def step(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            assert inputs["x"].shape == buffer.shape
            sizes.append(batch)
            buffer[:] = 2 * inputs["x"]
            return {"y": buffer}

        return SimpleNamespace(step=step)

    monkeypatch.setattr(batched, "open_stream", opened)
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").touch()
    return sizes


@pytest.mark.parametrize(
    ("sizes", "rows", "expected"),
    [(None, 5, [5]), ((1, 4, 16), 1, [1]), ((1, 4, 16), 5, [16]), ((1, 4), 9, [4, 4, 1])],
)
def test_rows_are_filled_up_and_asked_in_parts(
    asked: list[int], sizes: tuple[int, ...] | None, rows: int, expected: list[int]
) -> None:
    stream = BatchedStream("model.onnx", {}, sizes=sizes)
    x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    first = stream.step({"x": x})["y"]
    assert asked == expected
    stream.step({"x": 0 * x})
    np.testing.assert_array_equal(first, 2 * x)


def test_threads_do_not_mix(asked: list[int]) -> None:
    stream = BatchedStream("model.onnx", {})
    wrong = []

    def ask(number: int) -> None:
        x = np.full((3, 2), number, np.float32)
        for _ in range(200):
            if (stream.step({"x": x})["y"] != 2 * number).any():
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_missing_file_says_what_to_do() -> None:
    with pytest.raises(PallasError, match=r"none\.onnx: no such file.*: train it$"):
        BatchedStream("none.onnx", {}, missing="train it")
