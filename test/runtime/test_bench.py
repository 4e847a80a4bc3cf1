"""`pallas bench`: its output, its goals, and its measurements."""

import json
import os
import re
import subprocess
import sys
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
        ("step_p50_ms", "onnxruntime", "pallas", 0.39, "met"),
        ("step_p50_ms", "onnxruntime", "pallas", 0.41, "MISSED"),
        ("over_pallas", "torch", "pip", 9.0, "MISSED"),
        ("over_pallas", "torch", "pip", 11.0, "met"),
        ("step_p90_ms", "onnxruntime", "pallas", 99.0, ""),
    ],
)
def test_goals(metric: str, case: str, name: str, value: float, word: str) -> None:
    assert rows.verdict(rows.Row(name, case, metric, value, "")).startswith(word)
    assert word or not rows.verdict(rows.Row(name, case, metric, value, ""))


@pytest.mark.parametrize(
    ("start", "goals"),
    [
        ("PALLAS step", {("pallas", "onnxruntime", "step"): ("p50", "p99")}),
        ("newest IMU sample", {("end_to_end", "processes", "latency"): ("p50", "p99")}),
    ],
)
def test_goals_are_those_of_the_readme(
    start: str, goals: dict[tuple[str, str, str], tuple[str, ...]]
) -> None:
    stated = dict(re.findall(r"(p\d+) ≤ ([\d.]+) ms", readme_goal(start)))
    for (name, case, what), percentiles in goals.items():
        found = {p: rows.GOALS[name, case, f"{what}_{p}_ms"] for p in percentiles}
        assert found == {p: float(value) for p, value in stated.items()}


def test_the_offline_goal_is_that_of_the_readme() -> None:
    goal = rows.GOALS["pallas", "offline", "times_real_time"]
    assert readme_goal("offline") == f"≥ {goal:g} × real time"


def readme_goal(start: str) -> str:
    """The goal in the row of the README's table of results that starts with ``start``."""
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {start}"))
    return line.split("|")[2].strip()


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


INTERRUPTED = """
import os, signal, subprocess, sys, time
sys.path.insert(0, sys.argv.pop(1))
import bench_start

def cycle(listener, words, seconds, folder, numbers=[]):
    numbers.append(0)
    if len(numbers) == 1:
        return bench_start.Cycle(up_s=1.0)
    with bench_start._ended(subprocess.Popen(["sleep", "60"], start_new_session=True)) as process:
        os.kill(os.getpid(), getattr(signal, words[0]))
        time.sleep(5)
        listener.others()

bench_start.cycle = cycle
sys.exit(bench_start.main())
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_start_benchmark_keeps_its_rows(tmp_path: Path, name: str) -> None:
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    out = tmp_path / "rows.json"
    command = [sys.executable, "-c", INTERRUPTED, str(folder), "--json", str(out), name]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "0 of 1 clean" in done.stdout
    assert [row["up_s"] for row in json.loads(out.read_text())] == [1.0]


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
