"""Figures of a recorded session: rates, gaps, latency by stage, drift, confidence, joints and
events, computed in one pass over the bag.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pallas_ros.bags import Bag, BagMessage
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import (
    JOINT_INDEX,
    SITES,
    TOPIC_CALIBRATION,
    TOPIC_GENERATED_BODY,
    TOPIC_HPSTM_BODY,
    TOPIC_IMU_FRAME,
    TOPIC_JOINT_STATES,
    TOPIC_PALLAS_BODY,
    TOPIC_POSE_BODY,
    TOPIC_ROBOT_DESCRIPTION,
    TOPIC_SUPERVISOR,
)
from pallas_ros.body.origin import request_in
from pallas_ros.messages.decode import body_from_msg, header_stamp
from pallas_ros.view.curve import Curve, Distribution

_WRISTS = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]
BODY_TOPICS = (TOPIC_GENERATED_BODY, TOPIC_PALLAS_BODY, TOPIC_POSE_BODY, TOPIC_HPSTM_BODY)
"""Topics with bodies; the last one that is present is drawn."""
STAGES = {
    "sensor": "from an IMU sample's stamp to its message",
    "body": "from the newest sample to /pallas/body",
    "smoothed": "from the newest sample to /hpstm/body",
    "command": "from the newest sample to the first joint command after its smoothed body",
}
EVENTS = 500
CHANGES = 5000
"""Maximum number of events, and of state changes of the supervisor."""
MOST_PEOPLE = 8
"""Maximum number of people with curves, the first ones."""
JOINTS = 60
"""Maximum number of joints that are shown; each has a plot."""


@dataclass
class TopicFigures:
    """Rate and gaps of a topic, by receive times."""

    msgtype: str
    count: int = 0
    first: int = 0
    last: int = 0
    max_gap_ms: float = 0.0

    def add(self, stamp: int) -> None:
        """Count a message received at ``stamp`` ns."""
        if self.count:
            self.max_gap_ms = max(self.max_gap_ms, (stamp - self.last) / 1e6)
        else:
            self.first = stamp
        self.last = stamp
        self.count += 1

    @property
    def rate(self) -> float:
        """Messages per second."""
        return (
            (self.count - 1) / max((self.last - self.first) / 1e9, 1e-9) if self.count > 1 else 0.0
        )


@dataclass
class PersonCurves:
    """Curves of one person: number of bodies, confidence (mean, lowest, share of valid joints), and
    height of the wrists (left, right) in m.
    """

    count: int = 0
    confidence: Curve = field(default_factory=Curve)
    wrists: Curve = field(default_factory=Curve)

    def add(self, time: float, body: BodyFrame) -> None:
        """Add a body at ``time`` s."""
        self.count += 1
        share = body.valid.mean()
        self.confidence.add(time, (body.confidence.mean(), body.confidence.min(), share))
        self.wrists.add(time, body.positions[_WRISTS, 2])


@dataclass
class Session:
    """All figures of the report; times in s from the start of the bag, ``begun`` in ns."""

    path: Path
    duration: float
    damage: str
    begun: int = 0
    topics: dict[str, TopicFigures] = field(default_factory=dict)
    latencies: dict[str, Distribution] = field(default_factory=lambda: defaultdict(Distribution))
    latency_ms: dict[str, Curve] = field(default_factory=lambda: defaultdict(Curve))
    drift: Curve = field(default_factory=Curve)
    people: dict[str, PersonCurves] = field(default_factory=dict)
    """Curves of each person in the drawn bodies, by id; of `MOST_PEOPLE` at most."""
    joint_names: list[str] = field(default_factory=list)
    more_joints: int = 0
    """Number of joints that are not shown."""
    joints: Curve = field(default_factory=Curve)
    commanded: Curve = field(default_factory=Curve)
    states: list[tuple[float, str]] = field(default_factory=list)
    speed_scale: Curve = field(default_factory=Curve)
    limited_by: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    commands: tuple[int, int] = (0, 0)
    events: list[tuple[float, str]] = field(default_factory=list)
    generated: list[tuple[float, str, str]] = field(default_factory=list)
    """Of each generated motion: start (s), request, and a line of text."""
    calibration: str = ""
    robot: str = ""
    damaged_messages: int = 0

    @property
    def person(self) -> str:
        """The person with the most bodies; empty if there is none."""
        return max(self.people, key=lambda name: self.people[name].count, default="")

    @property
    def confidence(self) -> Curve:
        """Mean and lowest confidence, and share of valid joints, of `person`."""
        return self.people[self.person].confidence if self.people else Curve()

    @property
    def wrists(self) -> Curve:
        """Height of the left and the right wrist of `person`, m."""
        return self.people[self.person].wrists if self.people else Curve()

    @property
    def body_topic(self) -> str:
        """The topic whose bodies are drawn: the smoothed one, if present."""
        return next((topic for topic in reversed(BODY_TOPICS) if topic in self.topics), "")

    def figures(self) -> dict[str, float]:
        """The row of this bag in the overview table."""
        row = {
            "duration_s": self.duration,
            "messages": float(sum(topic.count for topic in self.topics.values())),
        }
        if self.body_topic:
            row["body_rate_hz"] = self.topics[self.body_topic].rate
            row["max_gap_ms"] = self.topics[self.body_topic].max_gap_ms
        for stage, latencies in self.latencies.items():
            row[f"latency_{stage}_p50_ms"], row[f"latency_{stage}_p99_ms"] = latencies.percentiles(
                50, 99
            )
        if self.commands[0]:
            row["commands"], row["commands_limited"] = map(float, self.commands)
        row["events"] = float(len(self.events))
        return row


def measure(
    path: str | Path, progress: Callable[[int, int], None] = lambda done, of: None
) -> Session:
    """Read a bag and compute its figures.

    Args:
        path: of the bag.
        progress: called every thousand messages with the number of messages read and the total.

    Raises:
        PallasError: there is no bag, or it is empty.
    """
    bag = Bag(path)
    if not bag.count:
        raise PallasError(f"{path}: {bag.why_empty()}")
    session = Session(Path(path), bag.duration, bag.damage, bag.first)
    reader = _Reader(bag, session)
    for done, message in enumerate(bag.messages()):
        if done % 1000 == 0:
            progress(done, bag.count)
        session.topics.setdefault(message.topic, TopicFigures(message.msgtype)).add(message.stamp)
        handler = reader.handlers.get(message.topic) or reader.by_type.get(message.msgtype)
        if handler is not None:
            try:
                handler((message.stamp - bag.first) / 1e9, message)
            except (PallasError, AttributeError, ValueError, IndexError, TypeError):
                session.damaged_messages += 1
    session.damage = bag.damage  # complete only after reading everything
    return session


class _Reader:
    """Dispatches messages by topic, and decodes them only if more than their time is needed."""

    def __init__(self, bag: Bag, session: Session) -> None:
        self._bag = bag
        self._session = session
        self._last_text: dict[str, str] = {}
        self._request: tuple[str, str] | None = None
        self._pending: int | None = (
            None  # newest input of the last smoothed body, until a command follows
        )
        self._drawn = next(
            (
                topic
                for topic in reversed(BODY_TOPICS)
                if topic in bag.topics and bag.topics[topic].count
            ),
            "",
        )
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

    def _event(self, time: float, who: str, what: str, key: str = "") -> None:
        """Record ``what`` unless it is the last of ``key``, by default ``who``."""
        if self._last_text.get(key or who, "") != what:
            self._last_text[key or who] = what
            if len(self._session.events) < EVENTS:
                self._session.events.append((time, f"{who}: {what or 'ok again'}"))

    def _latency(self, stage: str, time: float, nanoseconds: int) -> None:
        self._session.latencies[stage].add(nanoseconds / 1e6)
        self._session.latency_ms[stage].add(time, nanoseconds / 1e6)

    def _body(self, time: float, message: BagMessage) -> None:
        body: BodyFrame = body_from_msg(self._bag.decode(message))
        stage = {TOPIC_PALLAS_BODY: "body", TOPIC_HPSTM_BODY: "smoothed"}.get(message.topic)
        if stage and body.newest_input:
            self._latency(stage, time, message.stamp - body.newest_input)
        if message.topic == TOPIC_HPSTM_BODY:
            self._pending = body.newest_input
        key = f"{message.topic} {body.body_id}"
        self._event(time, message.topic, "; ".join(body.remarks), key)
        if message.topic == self._drawn:
            self._generated(time, request_in(body.remarks))
            people = self._session.people
            if body.body_id in people or len(people) < MOST_PEOPLE:
                people.setdefault(body.body_id, PersonCurves()).add(time, body)

    def _generated(self, time: float, request: tuple[str, str] | None) -> None:
        """Record the start of a generated motion."""
        if request != self._request:
            self._request = request
            if request is not None and len(self._session.generated) < EVENTS:
                self._session.generated.append((time, *request))

    def _imu(self, time: float, message: BagMessage) -> None:
        self._latency("sensor", time, message.stamp - header_stamp(message.data))

    def _imu_frame(self, time: float, message: BagMessage) -> None:
        frame = self._bag.decode(message)
        self._session.drift.add(time, np.degrees(np.asarray(frame.heading_drift, dtype=float)))
        missing = [site for site, valid in zip(SITES, frame.valid) if not valid]
        self._event(time, "sensors", f"{', '.join(missing)} missing" if missing else "")

    def _joints(self, time: float, message: BagMessage) -> None:
        self._add_joints(
            self._session.joints, time, (state := self._bag.decode(message)).name, state.position
        )

    def _command(self, time: float, message: BagMessage) -> None:
        if self._pending:
            self._latency("command", time, message.stamp - self._pending)
            self._pending = None
        trajectory = self._bag.decode(message)
        self._add_joints(
            self._session.commanded, time, trajectory.joint_names, trajectory.points[0].positions
        )

    def _add_joints(self, curve: Curve, time: float, names: Any, positions: Any) -> None:
        """Add angles (n,) by name, in the order of the first message; other joints are ignored."""
        if not self._session.joint_names:
            self._session.joint_names = [str(name) for name in names[:JOINTS]]
            self._session.more_joints = max(0, len(names) - JOINTS)
        angles = dict(zip(names, np.asarray(positions, dtype=float).tolist()))
        if angles.keys() & set(self._session.joint_names):
            curve.add(time, [angles.get(name, np.nan) for name in self._session.joint_names])

    def _supervisor(self, time: float, message: BagMessage) -> None:
        status = self._bag.decode(message)
        state = str(status.state_name)
        if (not self._session.states or self._session.states[-1][1] != state) and len(
            self._session.states
        ) < CHANGES:
            self._session.states.append((time, state))
        self._session.speed_scale.add(time, status.speed_scale)
        self._session.commands = (int(status.commands), int(status.commands_limited))
        for limit in status.limited_by:
            self._session.limited_by[str(limit)] += 1
        self._event(time, "supervisor", f"{state}, {status.reason}" if status.reason else state)

    def _calibration(self, time: float, message: BagMessage) -> None:
        text = str(self._bag.decode(message).data)[:20000]
        if text != self._session.calibration:
            self._session.calibration = text
            self._session.events.append((time, "calibration: applies from here"))

    def _robot(self, time: float, message: BagMessage) -> None:
        self._session.robot = str(self._bag.decode(message).data)

    def _diagnostics(self, time: float, message: BagMessage) -> None:
        for status in self._bag.decode(message).status:
            with contextlib.suppress(TypeError, ValueError):
                self._event(
                    time, str(status.name), str(status.message) if int(status.level) > 0 else ""
                )
