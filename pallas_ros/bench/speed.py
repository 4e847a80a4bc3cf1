"""Duration of one frame: the streaming step of the released models on every backend, for several
bodies, over a million frames, and relative to the lower bound.
"""

import math
import resource as system
from collections.abc import Callable, Iterator

import numpy as np

from pallas_ros.bench import floor
from pallas_ros.bench.rows import BenchSettings, Row, percentiles, time_each
from pallas_ros.body.errors import PallasError
from pallas_ros.runtime import Stream, open_stream
from pallas_ros.runtime.model_file import ModelFile

BATCHES = (1, 4, 16)
WARM_UP = 200
_INPUT_SCALE = 0.3


def stepper(stream: Stream, seed: int = 0) -> Callable[[], object]:
    """Return a function that feeds ``stream`` the next of some random frames."""
    generator = np.random.default_rng(seed)
    frames = [
        {
            name: generator.normal(0, _INPUT_SCALE, shape).astype(np.float32)
            for name, shape in stream.inputs.items()
        }
        for _ in range(64)
    ]
    count = 0

    def step() -> object:
        nonlocal count
        count += 1
        return stream.step(frames[count % len(frames)])

    return step


def step(settings: BenchSettings) -> Iterator[Row]:
    """Measure the step of PALLAS: every available backend, several bodies, and the lower bound."""
    path = settings.models / "pallas.onnx"
    model = ModelFile.load(path)
    median = math.nan
    for backend in ("onnxruntime", "tensorrt", "torch"):
        try:
            stream = open_stream(path, backend, threads=settings.threads)
        except PallasError as error:
            if backend == "onnxruntime":
                raise
            print(f"  {backend} not measured: {error}")
            continue
        stream.warm_up(WARM_UP)
        frames = settings.frames if backend != "torch" else min(settings.frames, 1000)
        ms = time_each(stepper(stream), settings.bar(frames, f"pallas on {backend}"))
        if backend == "onnxruntime":
            median = float(np.median(ms))
        yield from percentiles("pallas", backend, "step", ms)
    for batch in BATCHES[1:]:
        stream = open_stream(path, "onnxruntime", batch, settings.threads)
        stream.warm_up(WARM_UP)
        ms = time_each(stepper(stream), settings.bar(min(settings.frames, 2000), f"{batch} bodies"))
        yield from percentiles("pallas", f"batch={batch}", "step", ms)
    yield from _floor_rows(model, median)


def _floor_rows(model: ModelFile, median_ms: float) -> Iterator[Row]:
    """Return the lower bound of the step.

    It is the greater of weight bytes over read bandwidth and operations over peak arithmetic.
    """
    parameters = int(model.metadata["parameters"])
    state = sum(math.prod(shape) for shape in model.states.values())
    machine = floor.measured(4 * parameters)
    reading = 1e3 * 4 * (parameters + 2 * state) / machine["bytes_per_s"]
    computing = 1e3 * 2 * parameters / machine["operations_per_s"]
    yield Row("floor", "machine", "reading_gb_per_s", machine["bytes_per_s"] / 1e9, "GB/s")
    yield Row("floor", "machine", "peak_gflops", machine["operations_per_s"] / 1e9, "GFLOP/s")
    yield Row("floor", "pallas", "reading_ms", reading, "ms")
    yield Row("floor", "pallas", "computing_ms", computing, "ms")
    yield Row("pallas", "onnxruntime", "over_floor", median_ms / max(reading, computing), "times")


def hpstm(settings: BenchSettings) -> Iterator[Row]:
    """Measure the step of HPSTM."""
    path = settings.models / "hpstm.onnx"
    stream = open_stream(path, "onnxruntime", threads=settings.threads)
    stream.warm_up(WARM_UP)
    ms = time_each(
        stepper(stream), settings.bar(min(settings.frames, 3000), "hpstm on onnxruntime")
    )
    yield from percentiles("hpstm", "onnxruntime", "step", ms)


def soak(settings: BenchSettings) -> Iterator[Row]:
    """Measure latency and memory of PALLAS over very many frames (``--soak``).

    The first tenth is compared with the last.
    """
    if not settings.soak:
        print("  not measured: give --soak 1000000 (about five minutes)")
        return
    stream = open_stream(settings.models / "pallas.onnx", "onnxruntime", threads=settings.threads)
    stream.warm_up(WARM_UP)
    step = stepper(stream)
    tenth = settings.soak // 10
    case = f"frames={settings.soak}"
    first = time_each(step, settings.bar(tenth, "soak, first tenth"))
    before = _resident_mb()
    time_each(step, settings.bar(settings.soak - 2 * tenth, "soak"))
    last = time_each(step, settings.bar(tenth, "soak, last tenth"))
    for part, ms in (("first", first), ("last", last)):
        yield Row("pallas", case, f"step_p50_{part}_tenth_ms", float(np.median(ms)), "ms")
        yield Row("pallas", case, f"step_p99_{part}_tenth_ms", float(np.percentile(ms, 99)), "ms")
    yield Row("pallas", case, "memory_mb", _resident_mb(), "MB")
    yield Row("pallas", case, "memory_growth_mb", _resident_mb() - before, "MB")


def _resident_mb() -> float:
    """Return the current memory of this process, or its peak if the system does not report it."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * system.getpagesize() / 1e6
    except OSError:
        return system.getrusage(system.RUSAGE_SELF).ru_maxrss / 1e3
