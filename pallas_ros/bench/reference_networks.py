"""Compare PALLAS with the networks of TransPose and PIP, of published size and with random weights.

All are measured in the same run.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pallas_ros.bench.rows import BenchSettings, Row, percentiles, time_each
from pallas_ros.bench.speed import WARM_UP, stepper
from pallas_ros.runtime import open_stream
from pallas_ros.runtime.model_file import ModelFile

ROUNDS = 10
"""The networks alternate, so that disturbances of the machine affect all of them."""


def reference_networks(settings: BenchSettings) -> Iterator[Row]:
    """Measure each network as published (torch) and exported to ONNX Runtime, on one thread."""
    from pallas_ros.model import reference_networks as networks
    from pallas_ros.torch_runtime.backend import TorchStream, export_stream

    steps: dict[tuple[str, str], Callable[[], object]] = {}
    pallas = open_stream(settings.models / "pallas.onnx", "onnxruntime", threads=settings.threads)
    pallas.warm_up(WARM_UP)
    steps["pallas", "onnxruntime"] = stepper(pallas)
    with tempfile.TemporaryDirectory() as folder:
        for name, network in (("pip", networks.Pip()), ("transpose", networks.TransPose())):
            path = export_stream(network, Path(folder) / f"{name}.onnx", {"kind": name})
            streams = (
                open_stream(path, "onnxruntime", threads=settings.threads),
                TorchStream(ModelFile.load(path), network),
            )
            for stream in streams:
                stream.warm_up(20)
                steps[name, stream.backend] = stepper(stream)
    taken: dict[tuple[str, str], list[np.ndarray]] = {key: [] for key in steps}
    frames = min(settings.frames, 2000) // ROUNDS
    for _ in settings.bar(ROUNDS, "networks in turn"):
        for key, run in steps.items():
            for _ in range(2):  # brings its weights back into the cache
                run()
            taken[key].append(time_each(run, range(frames)))
    ms = {key: np.concatenate(parts) for key, parts in taken.items()}
    own = float(np.median(ms["pallas", "onnxruntime"]))
    for (name, backend), durations in ms.items():
        if name != "pallas":
            yield from percentiles(name, backend, "step", durations)
            yield Row(name, backend, "over_pallas", float(np.median(durations)) / own, "times")
    yield Row("pallas", "beside_reference_networks", "step_p50_ms", own, "ms")
