"""`pallas bench`: its output, its goals, and its measurements."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from pallas_ros.bench import rows
from pallas_ros.body.errors import PallasError
from pallas_ros.cli import main


def test_json_is_whole_or_absent(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    rows.write_json([rows.Row("pallas", "onnxruntime", "step_p50_ms", 0.25, "ms")], out)
    assert json.loads(out.read_text()) == {
        "rows": [
            {
                "name": "pallas",
                "case": "onnxruntime",
                "metric": "step_p50_ms",
                "value": 0.25,
                "unit": "ms",
            }
        ]
    }
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]
    with pytest.raises(PallasError, match="cannot be written"):
        rows.write_json([], tmp_path / "none" / "bench.json")


@pytest.mark.parametrize(
    ("metric", "case", "name", "value", "word"),
    [
        ("step_p50_ms", "onnxruntime", "pallas", 0.9, "met"),
        ("step_p50_ms", "onnxruntime", "pallas", 1.1, "MISSED"),
        ("over_pallas", "torch", "pip", 9.0, "MISSED"),
        ("over_pallas", "torch", "pip", 11.0, "met"),
        ("step_p90_ms", "onnxruntime", "pallas", 99.0, ""),
    ],
)
def test_goals(metric: str, case: str, name: str, value: float, word: str) -> None:
    assert rows.verdict(rows.Row(name, case, metric, value, "")).startswith(word)
    assert word or not rows.verdict(rows.Row(name, case, metric, value, ""))


def test_every_call_is_timed() -> None:
    waits = iter([0.0, 0.02, 0.0])
    ms = rows.time_each(lambda: time.sleep(next(waits)), range(3))
    assert ms.shape == (3,) and int(np.argmax(ms)) == 1 and ms[1] >= 20
    assert [row.metric for row in rows.percentiles("a", "b", "step", ms)] == [
        "step_p50_ms",
        "step_p90_ms",
        "step_p99_ms",
        "step_max_ms",
    ]


def test_benchmarks_are_found() -> None:
    assert {
        "step",
        "hpstm",
        "reference_networks",
        "soak",
        "offline",
        "end_to_end",
        "generation",
        "dynamics",
    } <= rows.benchmarks().keys()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["bench", "--only", "nothing"], "nothing"),
        (["bench", "--frames", "3"], "too short"),
        (["bench", "--only", "step", "--models", "/nowhere"], "nothing could be measured"),
        (["export", "/nowhere/weights.safetensors"], "no such file"),
        (["export", __file__], "not trained weights"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert word in error and error.count("\n") == 1
