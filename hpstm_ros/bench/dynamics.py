"""Rows of `pallas bench` for the forces in the body: rigid bodies and the network HDyS."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from hpstm_ros.bench.rows import reaching
from hpstm_ros.bench.timing import Durations, timed
from hpstm_ros.dynamics.live import METHODS, RIGID_BODY, LiveDynamics, LiveSettings
from hpstm_ros.dynamics.network import HDYS
from hpstm_ros.teleoperation.recorded import frames
from pallas_ros.bench.rows import BenchSettings, Row
from pallas_ros.bench.speed import WARM_UP, stepper
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import MODEL_RATE_HZ
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
    step = stepper(stream)
    bar = settings.bar(min(settings.frames, _MOST_FRAMES), "hdys on onnxruntime")
    yield from Durations.of(timed(step) for _ in bar).rows("dynamics", HDYS, "step")
    durations = _alternating(
        {method: LiveDynamics(LiveSettings(method=method, model=model)) for method in METHODS},
        settings,
    )
    for method in METHODS:
        yield from durations[method].rows("dynamics", method, "frame")
    hdys, rigid_body = (float(np.median(durations[name].cpu)) for name in (HDYS, RIGID_BODY))
    yield Row("dynamics", HDYS, "cpu_over_rigid_body", hdys / rigid_body, "times")


def _alternating(lives: dict[str, LiveDynamics], settings: BenchSettings) -> dict[str, Durations]:
    """Durations of each method on the same frames, alternating, after a warm-up."""
    bodies = [_uncertain(body) for body in frames(reaching(_MOTION_S))]
    taken: dict[str, list[tuple[int, int]]] = {name: [] for name in lives}
    count = WARM_UP + min(settings.frames, _MOST_FRAMES)
    for index in settings.bar(count, "dynamics"):
        body = replace(bodies[index % len(bodies)], stamp=round((index + 1) * 1e9 / MODEL_RATE_HZ))
        for name, live in lives.items():
            taken[name].append(timed(partial(live.push, body)))
    return {name: Durations.of(pairs[WARM_UP:]) for name, pairs in taken.items()}


def _uncertain(body: BodyFrame) -> BodyFrame:
    """The body with a covariance, as bodies of the node `hpstm` have one."""
    covariance = np.tile(np.eye(3) * _DEVIATION_M**2, (len(body.positions), 1, 1))
    return replace(body, covariance=covariance)
