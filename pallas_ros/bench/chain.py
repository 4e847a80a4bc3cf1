"""The whole chain from samples to bodies and joint commands: without ROS, faster than real time,
and as the running graph over DDS.
"""

import contextlib
import dataclasses
import io
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pallas_ros.bench.rows import BenchSettings, Row, percentiles
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES, TOPIC_HPSTM_BODY, TOPIC_JOINT_TRAJECTORY, TOPIC_PALLAS_BODY

if TYPE_CHECKING:
    from pallas_ros.graph.description import Node

SINGLE = "single_process"
_CASES: dict[str, dict[str, str]] = {
    "processes": {},
    "processes, no priority": {"priority": "0"},
    SINGLE: {},
}
_RECORDED_S = 30.0
_APART_S = 0.002
"""Interval between published messages, so that a subscriber receives them one by one, as live."""
_CALIBRATION_S = 12.0
"""The demonstration begins with a still T-pose; before calibration there are no bodies to time."""


def offline(settings: BenchSettings) -> Iterator[Row]:
    """Measure `pallas process` without files: throughput on one core, time per stage.

    Raises:
        PallasError: the model is missing, or the simulated sensors give no body.
    """
    from pallas_ros.imu.motions import demo_motion
    from pallas_ros.imu.virtual import VirtualSensors
    from pallas_ros.pipeline import PipelineSettings

    samples = VirtualSensors(seed=1).samples(demo_motion(_RECORDED_S))
    pipeline = PipelineSettings(
        model=str(settings.models / "pallas.onnx"), backend="onnxruntime"
    ).pipeline()
    spent: dict[str, float] = defaultdict(float)
    estimator = pipeline._estimator
    _meter(spent, "inference", estimator._stream, "step")  # type: ignore[attr-defined]
    _meter(spent, "estimator", estimator, "step")
    bodies = []
    start = time.perf_counter()
    for site, sample in samples:
        bodies += pipeline.push(site, sample)
    took = time.perf_counter() - start
    if not bodies:
        raise PallasError("the demonstration motion gave no body, because the calibration failed")
    recorded = (samples[-1][1].stamp - samples[0][1].stamp) * 1e-9
    yield Row("pallas", "offline", "times_real_time", recorded / took, "times")
    stages = {
        "synchronisation": took - spent["estimator"],
        "inference": spent["inference"],
        "forward kinematics and root": spent["estimator"] - spent["inference"],
        **_messages(bodies),
    }
    total = sum(stages.values())
    for name, duration in stages.items():
        yield Row("stages", name, "share_percent", 100 * duration / total, "%")
        yield Row("stages", name, "frame_ms", 1e3 * duration / len(bodies), "ms")


def _meter(spent: dict[str, float], name: str, owner: Any, method: str) -> None:
    """Have ``owner.method`` add its durations, in s, to ``spent[name]``."""
    plain: Callable[..., Any] = getattr(owner, method)

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return plain(*arguments)
        finally:
            spent[name] += time.perf_counter() - start

    setattr(owner, method, timed)


def _messages(bodies: list[Any]) -> dict[str, float]:
    """Return the time in s to build the messages of ``bodies`` and to publish them to a subscriber.

    Empty if ROS is not installed.
    """
    try:
        from pallas_ros.messages.wire import body_to_bytes
        from pallas_ros.ros.loopback import listened_to
    except ImportError:
        return {}
    start = time.perf_counter()
    built = [body_to_bytes(body) for body in bodies]
    building = time.perf_counter() - start
    publishing = 0.0
    with listened_to() as publish:
        for data in built:
            start = time.perf_counter()
            publish(data)
            publishing += time.perf_counter() - start
            time.sleep(_APART_S)
    return {"message building": building, "publishing": publishing}


def end_to_end(settings: BenchSettings) -> Iterator[Row]:
    """Measure the running graph with simulated sensors and arm.

    Latency is from the timestamp of the newest IMU sample to the reception of the result.
    """
    for case, arguments in _CASES.items():
        try:
            yield from _graph(case, arguments, settings.seconds)
        except PallasError as error:
            print(f"  {case} not measured: {error}")


def _graph(case: str, arguments: dict[str, str], seconds: float) -> Iterator[Row]:
    from pallas_ros.bags import Bag
    from pallas_ros.graph.description import Graph
    from pallas_ros.graph.foreground import run_graph
    from pallas_ros.graph.measurement import of_bag

    with tempfile.TemporaryDirectory() as folder:
        bag_path = Path(folder) / "bag"
        nodes = [
            _with_ports(node, folder)
            for node in Graph.load().resolve(
                {"operator": "auto", "record": str(bag_path), **arguments}
            )
        ]
        print(f"  {case}: {len(nodes)} nodes for {seconds + _CALIBRATION_S:.0f} s", flush=True)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            run_graph(nodes, single_process=case == SINGLE, duration=seconds + _CALIBRATION_S)
        bag = Bag(bag_path)
        commands = _command_topic(bag)
        run, lost = of_bag(bag, commands)
        yield from _hops(case, bag)
    if not run.latencies:
        raise PallasError("no joint command follows from a body: the arm was not engaged")
    yield from percentiles("end_to_end", case, "latency", 1e3 * np.array(run.latencies))
    gaps = np.diff(np.array(run.body_times)) * 1e-6
    yield Row("end_to_end", case, "body_rate_hz", 1e3 / float(gaps.mean()), "Hz")
    yield Row("end_to_end", case, "body_gap_max_ms", float(gaps.max()), "ms")
    yield Row("end_to_end", case, "messages_lost", lost, "messages")
    yield Row("end_to_end", case, "commands", run.commands, "messages")


def _with_ports(node: "Node", folder: str) -> "Node":
    """Give the node separate simulated ports, so as not to disturb another graph."""
    ports: dict[str, dict[str, Any]] = {
        "imu_simulator": {"port_folder": folder},
        "imu_driver": {"ports": [f"{folder}/{site}" for site in SITES]},
    }
    return dataclasses.replace(node, parameters={**node.parameters, **ports.get(node.node, {})})


def _command_topic(bag: Any) -> str:
    suffix = TOPIC_JOINT_TRAJECTORY.rsplit("/", 1)[1]
    topics = [topic for topic in bag.topics if topic.endswith(suffix)]
    if not topics:
        raise PallasError("no joint command was recorded")
    return str(topics[0])


def _hops(case: str, bag: Any) -> Iterator[Row]:
    """Return the latency of bodies at each stage, relative to the same timestamp."""
    from pallas_ros.messages.decode import from_stamp

    for topic in (TOPIC_PALLAS_BODY, TOPIC_HPSTM_BODY):
        if topic in bag.topics:
            ages = [
                (received - from_stamp(message.newest_input)) * 1e-6
                for received, message in bag.read(topic)
            ]
            if ages:
                yield from percentiles("end_to_end", f"{case}, {topic}", "age", np.array(ages))
