"""What a bag says about its session: rates, gaps, latency by stage, drift, confidence, joints and events, in one pass."""

import contextlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pallas_ros.bags import Bag
from pallas_ros.bags.bodies import body_from_record, stamp_ns
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import (
    SITES,
    TOPIC_CALIBRATION,
    TOPIC_HPSTM_BODY,
    TOPIC_IMU_FRAME,
    TOPIC_JOINT_STATES,
    TOPIC_PALLAS_BODY,
    TOPIC_POSE_BODY,
    TOPIC_ROBOT_DESCRIPTION,
    TOPIC_SUPERVISOR,
)

F64 = NDArray[np.float64]
BODY_TOPICS = (TOPIC_PALLAS_BODY, TOPIC_POSE_BODY, TOPIC_HPSTM_BODY)
STAGES = {
    "sensor": "from an IMU sample's stamp to its message",
    "body": "from the newest sample to /pallas/body",
    "smoothed": "from the newest sample to /hpstm/body",
    "command": "from the newest sample to the first joint command after its smoothed body",
}
KEEP = 3000
"""Points kept of every curve; a longer session is thinned as it is read, so memory does not grow with it."""


@dataclass
class Curve:
    """A curve over time that keeps at most about 2 * KEEP points: beyond, every other one is dropped."""

    times: list[float] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def add(self, time: float, value: Any) -> None:
        """Append a point, or pass it over."""
        if self.seen % self.stride == 0:
            self.times.append(time)
            self.values.append(value)
            if len(self.times) > 2 * KEEP:
                del self.times[1::2], self.values[1::2]
                self.stride *= 2
        self.seen += 1

    def arrays(self) -> tuple[F64, F64]:
        """Times (n,) and values (n, ...)."""
        return np.array(self.times), np.array(self.values, dtype=float)


@dataclass
class TopicFigures:
    """A topic's rate and gaps, by the stamps of reception."""

    msgtype: str
    count: int = 0
    first: int = 0
    last: int = 0
    max_gap_ms: float = 0.0

    def add(self, stamp: int) -> None:
        """Count a message."""
        if self.count:
            self.max_gap_ms = max(self.max_gap_ms, (stamp - self.last) / 1e6)
        else:
            self.first = stamp
        self.last = stamp
        self.count += 1

    @property
    def rate(self) -> float:
        """Messages a second."""
        return (self.count - 1) / max((self.last - self.first) / 1e9, 1e-9) if self.count > 1 else 0.0


@dataclass
class Session:
    """Everything the report shows; times in s from the bag's beginning."""

    path: Path
    duration: float
    damage: str
    topics: dict[str, TopicFigures] = field(default_factory=dict)
    latency_ms: dict[str, Curve] = field(default_factory=lambda: defaultdict(Curve))
    drift: Curve = field(default_factory=Curve)
    confidence: Curve = field(default_factory=Curve)
    wrists: Curve = field(default_factory=Curve)
    joints: Curve = field(default_factory=Curve)
    joint_names: list[str] = field(default_factory=list)
    state: Curve = field(default_factory=Curve)
    limited_by: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    commands: tuple[int, int] = (0, 0)
    events: list[tuple[float, str]] = field(default_factory=list)
    calibration: str = ""
    robot: str = ""
    bodies: Curve = field(default_factory=Curve)
    covariances: Curve = field(default_factory=Curve)
    raw: Curve = field(default_factory=Curve)
    damaged_messages: int = 0

    @property
    def body_topic(self) -> str:
        """The topic whose bodies are drawn: the smoothed one where there is one."""
        return next((topic for topic in reversed(BODY_TOPICS) if topic in self.topics), "")

    def figures(self) -> dict[str, float]:
        """The row of the table over many bags."""
        row = {"duration_s": self.duration, "messages": float(sum(topic.count for topic in self.topics.values()))}
        if self.body_topic:
            row["body_rate_hz"] = self.topics[self.body_topic].rate
            row["max_gap_ms"] = self.topics[self.body_topic].max_gap_ms
        for stage, curve in self.latency_ms.items():
            row[f"latency_{stage}_p50_ms"], row[f"latency_{stage}_p99_ms"] = np.percentile(curve.arrays()[1], (50, 99)).tolist()
        if self.commands[0]:
            row["commands"], row["commands_limited"] = map(float, self.commands)
        row["events"] = float(len(self.events))
        return row


def measure(path: str | Path) -> Session:
    """Read a bag.

    Raises:
        PallasError: there is no bag, or nothing in it.
    """
    bag = Bag(path)
    if not bag.count:
        raise PallasError(f"{path}: there is no message in this bag")
    session = Session(Path(path), bag.duration, bag.damage)
    reader = _Reader(bag, session)
    for message in bag.messages():
        session.topics.setdefault(message.topic, TopicFigures(message.msgtype)).add(message.stamp)
        handler = reader.handlers.get(message.topic) or reader.by_type.get(message.msgtype)
        if handler is not None:
            try:
                handler((message.stamp - bag.first) / 1e9, message.stamp, message.topic, bag.decode(message))
            except (PallasError, AttributeError, ValueError, IndexError, TypeError):
                session.damaged_messages += 1
    return session


class _Reader:
    """Puts each message where it belongs."""

    def __init__(self, bag: Bag, session: Session) -> None:
        self._session = session
        self._said: dict[str, str] = {}
        self._pending: int | None = None  # newest input of the last smoothed body, until a command follows
        drawn = next((topic for topic in reversed(BODY_TOPICS) if topic in bag.topics and bag.topics[topic].count), "")
        self._drawn = drawn
        self.handlers = {
            **dict.fromkeys(BODY_TOPICS, self._body),
            TOPIC_IMU_FRAME: self._imu_frame,
            TOPIC_JOINT_STATES: self._joints,
            TOPIC_SUPERVISOR: self._supervisor,
            TOPIC_CALIBRATION: self._calibration,
            TOPIC_ROBOT_DESCRIPTION: self._robot,
        }
        self.by_type = {
            "trajectory_msgs/msg/JointTrajectory": self._command,
            "sensor_msgs/msg/Imu": self._imu,
            "diagnostic_msgs/msg/DiagnosticArray": self._diagnostics,
        }

    def _event(self, time: float, who: str, what: str) -> None:
        if self._said.get(who, "") != what:
            self._said[who] = what
            if len(self._session.events) < 500:
                self._session.events.append((time, f"{who}: {what or 'well again'}"))

    def _body(self, time: float, received: int, topic: str, message: Any) -> None:
        body: BodyFrame = body_from_record(message)
        stage = {TOPIC_PALLAS_BODY: "body", TOPIC_HPSTM_BODY: "smoothed"}.get(topic)
        if stage and body.newest_input:
            self._session.latency_ms[stage].add(time, (received - body.newest_input) / 1e6)
        if topic == TOPIC_HPSTM_BODY:
            self._pending = body.newest_input
        self._event(time, topic, "; ".join(body.remarks))
        if topic == self._drawn:
            self._session.confidence.add(time, (body.confidence.mean(), body.confidence.min(), body.valid.mean()))
            self._session.wrists.add(time, body.positions[[20, 21]].reshape(-1))
            self._session.bodies.add(time, np.concatenate((body.positions, body.rotations), axis=1))
            if body.covariance is not None:
                self._session.covariances.add(time, body.covariance)
        elif topic == TOPIC_PALLAS_BODY:
            self._session.raw.add(time, np.concatenate((body.positions, body.rotations), axis=1))

    def _imu(self, time: float, received: int, topic: str, message: Any) -> None:
        self._session.latency_ms["sensor"].add(time, (received - stamp_ns(message.header.stamp)) / 1e6)

    def _imu_frame(self, time: float, received: int, topic: str, message: Any) -> None:
        self._session.drift.add(time, np.degrees(np.asarray(message.heading_drift, dtype=float)))
        missing = [site for site, valid in zip(SITES, message.valid) if not valid]
        self._event(time, "sensors", f"{', '.join(missing)} missing" if missing else "")

    def _joints(self, time: float, received: int, topic: str, message: Any) -> None:
        names = list(message.name)
        if not self._session.joint_names:
            self._session.joint_names = names
        if names == self._session.joint_names:
            self._session.joints.add(time, np.asarray(message.position, dtype=float))

    def _command(self, time: float, received: int, topic: str, message: Any) -> None:
        if self._pending:
            self._session.latency_ms["command"].add(time, (received - self._pending) / 1e6)
            self._pending = None

    def _supervisor(self, time: float, received: int, topic: str, message: Any) -> None:
        self._session.state.add(time, (message.state, message.speed_scale))
        self._session.commands = (int(message.commands), int(message.commands_limited))
        for limit in message.limited_by:
            self._session.limited_by[str(limit)] += 1
        self._event(time, "supervisor", f"{message.state_name}, {message.reason}" if message.reason else str(message.state_name))

    def _calibration(self, time: float, received: int, topic: str, message: Any) -> None:
        if message.data != self._session.calibration:
            self._session.calibration = str(message.data)[:20000]
            self._session.events.append((time, "calibration: in force from here"))

    def _robot(self, time: float, received: int, topic: str, message: Any) -> None:
        self._session.robot = str(message.data)

    def _diagnostics(self, time: float, received: int, topic: str, message: Any) -> None:
        for status in message.status:
            with contextlib.suppress(TypeError, ValueError):
                self._event(time, str(status.name), str(status.message) if int(status.level) > 0 else "")
