"""Figures, measurement settings, and the printed table."""

import importlib.metadata
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import resource
from pallas_ros.files import json_output

GROUP = "pallas.bench"


@dataclass(frozen=True)
class Row:
    """One figure: ``name`` of the benchmark, ``case``, and ``metric`` ending in its unit, e.g.
    ``step_p50_ms``.
    """

    name: str
    case: str
    metric: str
    value: float
    unit: str


@dataclass(frozen=True)
class BenchSettings:
    """Duration and scope of the measurements.

    Attributes:
        frames: frames of every latency figure, after warm-up.
        soak: frames of the long run, 0 for none.
        seconds: duration of the whole node chain.
        models: folder of the model files.
        threads: threads per step.
        progress: whether to show progress bars.
    """

    frames: int = 10_000
    soak: int = 0
    seconds: float = 20.0
    models: Path = field(default_factory=lambda: resource("models"))
    threads: int = 1
    progress: bool = True

    def bar(self, count: int, text: str) -> Iterator[int]:
        """Count to ``count`` with a progress bar."""
        yield from tqdm(
            range(count),
            desc=text,
            unit=" frames",
            leave=False,
            disable=None if self.progress else True,
            mininterval=0.5,
            miniters=100,
        )


Benchmark = Callable[[BenchSettings], Iterable[Row]]

GOALS: dict[tuple[str, str, str], float] = {
    ("pallas", "onnxruntime", "step_p50_ms"): 0.4,
    ("pallas", "onnxruntime", "step_p99_ms"): 1.0,
    ("pallas", "onnxruntime", "over_floor"): 3.0,
    ("pip", "torch", "over_pallas"): 10.0,
    ("transpose", "torch", "over_pallas"): 20.0,
    ("pallas", "offline", "times_real_time"): 25.0,
    ("end_to_end", "processes", "latency_p50_ms"): 5.0,
    ("end_to_end", "processes", "latency_p99_ms"): 9.0,
    ("retarget", "panda", "step_p99_ms"): 1.0,
    ("hpstm_gen", "steps=10", "generate_4s_p50_ms"): 500.0,
    ("hpstm_gen", "forecast=1.0", "forecast_p50_ms"): 80.0,
    ("latent", "text", "generate_4s_p50_ms"): 300.0,
    ("latent", "text", "generate_10s_p50_ms"): 600.0,
    ("tokens", "text", "generate_4s_p50_ms"): 400.0,
    ("text_pose", "poses=6", "sample_p50_ms"): 1000.0,
    ("dynamics", "hdys", "step_p50_ms"): 0.5,
    ("dynamics", "rigid_body", "frame_p50_ms"): 1.5,
}
"""Design goals."""

AT_LEAST = ("over_pallas", "times_real_time")
"""Metrics for which higher is better."""


def benchmarks() -> dict[str, Benchmark]:
    """Return the installed benchmarks by name; those of `pallas_ros` take precedence."""
    entries = sorted(
        importlib.metadata.entry_points(group=GROUP),
        key=lambda entry: (not entry.value.startswith("pallas_ros"), entry.name),
    )
    return {entry.name: _late(entry) for entry in entries}


def _late(entry: importlib.metadata.EntryPoint) -> Benchmark:
    def run(settings: BenchSettings) -> Iterable[Row]:
        try:
            benchmark: Benchmark = entry.load()
        except ImportError as error:
            raise PallasError(f"a required package is not installed ({error})") from None
        yield from benchmark(settings)

    return run


def time_each(step: Callable[[], object], frames: Iterable[int]) -> NDArray[np.float64]:
    """Return the durations (len(frames),) in ms of calls of ``step``, one per element of
    ``frames``.
    """
    clock = time.perf_counter_ns
    durations = []
    for _ in frames:
        start = clock()
        step()
        durations.append(clock() - start)
    return np.array(durations) / 1e6


def percentiles(name: str, case: str, what: str, ms: NDArray[np.float64]) -> list[Row]:
    """Return rows ``<what>_p50_ms`` to ``<what>_max_ms`` of durations ``ms`` (n,) in ms."""
    wanted = (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100))
    return [
        Row(name, case, f"{what}_{label}_ms", float(np.percentile(ms, q)), "ms")
        for label, q in wanted
    ]


def verdict(row: Row) -> str:
    """Return the goal of a row and whether it was met, or nothing."""
    goal = GOALS.get((row.name, row.case, row.metric))
    if goal is None:
        return ""
    more = row.metric in AT_LEAST
    met = row.value >= goal if more else row.value <= goal
    return f"{'met' if met else 'MISSED'}: {'at least' if more else 'at most'} {goal:g}"


def line(row: Row) -> str:
    """Format a row as a line of the table."""
    return (
        f"{row.name:<12} {row.case:<24} {row.metric:<28} {row.value:>12.4g} {row.unit:<8}"
        f" {verdict(row)}".rstrip()
    )


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write ``{"rows": [...]}`` atomically.

    Raises:
        PallasError: the file cannot be written.
    """
    json_output.write_json({"rows": [asdict(row) for row in rows]}, path)
