"""Rows of `pallas bench` for the forces in the body: rigid bodies and the network HDyS."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.bench.rows import reaching
from hpstm_ros.dynamics.live import METHODS, RIGID_BODY, LiveDynamics, LiveSettings
from hpstm_ros.dynamics.network import HDYS
from hpstm_ros.teleoperation.recorded import frames
from pallas_ros.bench.rows import BenchSettings, Row, percentiles, time_each
from pallas_ros.bench.speed import WARM_UP, stepper
from pallas_ros.body.frames import BodyFrame
from pallas_ros.runtime import open_stream

_MOST_FRAMES = 3000
_MOTION_S = 10.0
_DEVIATION_M = 0.01
"""m, standard deviation of the joints, so that the cost of propagating it is included."""


def dynamics(settings: BenchSettings) -> Iterator[Row]:
    """Time of a step of HDyS, and of a frame of the node `dynamics` with both methods."""
    model = settings.models / "hdys.onnx"
    stream = open_stream(model, "onnxruntime", threads=settings.threads)
    stream.warm_up(WARM_UP)
    count = min(settings.frames, _MOST_FRAMES)
    ms = time_each(stepper(stream), settings.bar(count, "hdys on onnxruntime"))
    yield Row("dynamics", HDYS, "step_min_ms", float(ms.min()), "ms")
    yield from percentiles("dynamics", HDYS, "step", ms)
    lives = {method: LiveDynamics(LiveSettings(method=method, model=model)) for method in METHODS}
    durations = _alternating(lives, settings)
    for method in METHODS:
        yield Row("dynamics", method, "frame_min_ms", float(durations[method].min()), "ms")
        yield from percentiles("dynamics", method, "frame", durations[method])
    ratio = float(np.median(durations[HDYS]) / np.median(durations[RIGID_BODY]))
    yield Row("dynamics", HDYS, "over_rigid_body", ratio, "times")


def _alternating(
    lives: dict[str, LiveDynamics], settings: BenchSettings
) -> dict[str, NDArray[np.float64]]:
    """Durations in ms of each method on the same frames, alternating, after a warm-up."""
    bodies = [_uncertain(body) for body in frames(reaching(_MOTION_S))]
    count = min(settings.frames, _MOST_FRAMES)
    durations = np.zeros((WARM_UP + count, len(lives)))
    stamp = 0
    for index in settings.bar(len(durations), "dynamics"):
        stamp += round(1e9 / 60)
        body = replace(bodies[index % len(bodies)], stamp=stamp)
        for column, live in enumerate(lives.values()):
            start = time.perf_counter_ns()
            live.push(body)
            durations[index, column] = time.perf_counter_ns() - start
    return dict(zip(lives, durations[WARM_UP:].T / 1e6))


def _uncertain(body: BodyFrame) -> BodyFrame:
    """The body with a covariance, as bodies of the node `hpstm` have one."""
    covariance = np.tile(np.eye(3) * _DEVIATION_M**2, (len(body.positions), 1, 1))
    return replace(body, covariance=covariance)
