"""Newest message of every displayed topic, polled by the viewer.

A viewer that cannot keep up drops frames and slows down nothing else.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pallas_ros.bags import Qos
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import (
    TOPIC_GENERATED_BODY,
    TOPIC_HPSTM_BODY,
    TOPIC_JOINT_EFFORTS,
    TOPIC_JOINT_STATES,
    TOPIC_PALLAS_BODY,
    TOPIC_POSE_BODY,
    TOPIC_PREDICTION,
    TOPIC_ROBOT_DESCRIPTION,
    TOPIC_SUPERVISOR,
)
from pallas_ros.messages.decode import body_from_msg
from pallas_ros.messages.types import message_class
from pallas_ros.messages.wire import deserialized
from pallas_ros.nodes.recorder import Taps
from pallas_ros.ros.leaving import own_context
from pallas_ros.view.forces import Forces, forces
from pallas_ros.view.moments import (
    NEWEST_TRANSFORMS,
    TOPIC_TF,
    TOPICS_GROUND,
    TRAJECTORY,
    Moment,
    moment,
    operators_record,
)

TOPICS = {
    TOPIC_PALLAS_BODY: ("pallas/msg/BodyPose", Qos(reliable=False)),
    TOPIC_POSE_BODY: ("pallas/msg/BodyPose", Qos(reliable=False)),
    TOPIC_GENERATED_BODY: ("pallas/msg/BodyPose", Qos(reliable=False)),
    TOPIC_HPSTM_BODY: ("pallas/msg/BodyPose", Qos(reliable=False)),
    TOPIC_JOINT_STATES: ("sensor_msgs/msg/JointState", Qos(reliable=False)),
    TOPIC_SUPERVISOR: ("pallas/msg/SupervisorStatus", Qos(reliable=False)),
    TOPIC_PREDICTION: ("pallas/msg/BodyPrediction", Qos(reliable=False)),
    TOPIC_ROBOT_DESCRIPTION: ("std_msgs/msg/String", Qos(latched=True)),
    TOPIC_JOINT_EFFORTS: ("sensor_msgs/msg/JointState", Qos(reliable=False)),
    **{topic: ("geometry_msgs/msg/WrenchStamped", Qos(reliable=False)) for topic in TOPICS_GROUND},
    TOPIC_TF: ("tf2_msgs/msg/TFMessage", Qos(reliable=False)),
}
_BEFORE = (TOPIC_GENERATED_BODY, TOPIC_PALLAS_BODY, TOPIC_POSE_BODY)
"""Topics of bodies before smoothing; the first with messages is used."""
_BODIES = {TOPIC_HPSTM_BODY, *_BEFORE}
DEPTH = 120
SEARCH_S = 1.0


class Live:
    """Current state of the graph; the viewer calls `newest` at its own rate."""

    def __init__(self, context: Any) -> None:
        """Subscribe; publishers may appear later."""
        self._taps = Taps(context, depth=DEPTH)
        for topic, (msgtype, qos) in TOPICS.items():
            self._taps.open(topic, msgtype, qos)
        self._last: dict[str, Any] = {}
        self._arrivals: deque[int] = deque(maxlen=DEPTH)
        self._before = TOPIC_PALLAS_BODY
        self._trajectory = ""
        self._person = ""
        self._next_search = 0.0
        self.description = ""

    def newest(self) -> Moment | None:
        """Return the data received since the last call; None if there was no body."""
        self._find_command_topic()
        came = self._take()
        taken = {message.topic: message for message in came}
        for topic in tuple(taken):
            newest = next(_decoded(came, topic), None)
            if newest is None:
                del taken[topic]
            else:
                self._last[topic] = newest
        for topic in _BODIES & taken.keys():
            records = _decoded(came, topic)
            status = self._last.get(TOPIC_SUPERVISOR)
            self._last[topic] = operators_record(records, status, self._person)
        if TOPIC_ROBOT_DESCRIPTION in taken:
            self.description = str(self._last[TOPIC_ROBOT_DESCRIPTION].data)
        before = next((topic for topic in _BEFORE if topic in taken), "")
        drawn = TOPIC_HPSTM_BODY if TOPIC_HPSTM_BODY in taken else before
        body = self._body(drawn) if drawn else None
        if body is None:
            return None
        self._person = body.body_id
        raw = self._body(before) if before and before != drawn else None
        others = [
            self._last.get(topic)
            for topic in (TOPIC_JOINT_STATES, self._trajectory, TOPIC_SUPERVISOR, TOPIC_PREDICTION)
        ]
        shown = moment(time.monotonic(), taken[drawn].stamp, body, raw, *others)
        shown.plots["rate, Hz"] = self._rate()
        shown.forces = self._forces(came) if TOPIC_JOINT_EFFORTS in taken else None
        return shown

    def _forces(self, came: list[Any]) -> Forces | None:
        newest = [message for message in came if message.topic == TOPIC_TF][-NEWEST_TRANSFORMS:]
        transforms = (
            transform for record in _decoded(newest, TOPIC_TF) for transform in record.transforms
        )
        wrenches = [self._last.get(topic) for topic in TOPICS_GROUND]
        return forces(self._last[TOPIC_JOINT_EFFORTS], wrenches, transforms)

    def close(self) -> None:
        """Unsubscribe."""
        self._taps.close()

    def _take(self) -> list[Any]:
        messages = self._taps.take()
        there = {message.topic for message in messages}
        self._before = next((topic for topic in _BEFORE if topic in there), self._before)
        self._arrivals.extend(
            message.stamp for message in messages if message.topic == self._before
        )
        return messages

    def _rate(self) -> float:
        span = self._arrivals[-1] - self._arrivals[0] if len(self._arrivals) > 1 else 0
        return (len(self._arrivals) - 1) * 1e9 / span if span else float("nan")

    def _body(self, topic: str) -> BodyFrame | None:
        try:
            return body_from_msg(self._last[topic])
        except PallasError:
            return None

    def _find_command_topic(self) -> None:
        """Find the arm's command topic, whose name contains that of its controller."""
        if not self._trajectory and time.monotonic() >= self._next_search:
            self._next_search = time.monotonic() + SEARCH_S
            self._trajectory = next(
                (
                    topic
                    for topic, msgtype in self._taps.discover().items()
                    if msgtype == TRAJECTORY
                ),
                "",
            )
            if self._trajectory:
                self._taps.open(self._trajectory, TRAJECTORY, Qos(reliable=False))


def _decoded(came: list[Any], topic: str) -> Iterator[Any]:
    """Yield the messages of a topic, newest first, skipping those not of its type."""
    for message in reversed(came):
        if message.topic != topic:
            continue
        try:
            yield deserialized(message.data, message_class(message.msgtype))
        except PallasError:
            continue


@contextmanager
def live() -> Iterator[Live]:
    """Open the live graph in a ROS context of its own."""
    with own_context() as (context, nodes):
        source = Live(context)
        nodes.callback(source.close)
        yield source
