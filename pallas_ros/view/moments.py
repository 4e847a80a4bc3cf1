"""Data that the viewer shows at one instant, from a motion file or a bag (for live data, see
`pallas_ros.nodes.live`).
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pallas_ros.bags import Bag, BagMessage
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import (
    JOINTS,
    TOPIC_GENERATED_BODY,
    TOPIC_GROUND_REACTION,
    TOPIC_HPSTM_BODY,
    TOPIC_JOINT_EFFORTS,
    TOPIC_JOINT_STATES,
    TOPIC_PALLAS_BODY,
    TOPIC_POSE_BODY,
    TOPIC_PREDICTION,
    TOPIC_ROBOT_DESCRIPTION,
    TOPIC_SUPERVISOR,
)
from pallas_ros.body.origin import Origin
from pallas_ros.messages.decode import body_from_msg, from_stamp
from pallas_ros.motion_files import Overrides, read
from pallas_ros.view.forces import Forces, forces

F64 = NDArray[np.float64]
_MOST_NAMED = 4
_MOST_PEOPLE = 8
"""Number of newest bodies that are searched for the operator."""
CIRCLE_90 = 2.1460
"""Radius, in standard deviations, of the circle that contains 90 % of a 2-dimensional Gaussian:
chi-square, 2 degrees of freedom.
"""
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
TOPICS_GROUND = tuple(TOPIC_GROUND_REACTION.format(side=side) for side in ("left", "right"))
TOPIC_TF = "/tf"
NEWEST_TRANSFORMS = 24
"""Number of newest messages on `/tf` that are searched for the centres of pressure."""


@dataclass
class Moment:
    """One instant.

    Attributes:
        time: s.
        body: (22, 7) positions in m and orientations xyzw, world, or None.
        raw: the same before smoothing, or None.
        covariance: (22, 3, 3) m^2 of ``body``, or None.
        predicted: (22, 7) body at the end of the prediction, as ``body``, or None.
        joints: measured joint angles of the arm in rad, by name.
        commanded: commanded joint angles in rad, by name.
        plots: values to plot, by name.
        state: of the supervisor, or empty.
        words: lines of text: reason for the state, active limits, remarks.
        forces: ground reactions and joint moments, or None.
    """

    time: float
    body: F64 | None = None
    raw: F64 | None = None
    covariance: F64 | None = None
    predicted: F64 | None = None
    joints: dict[str, float] = field(default_factory=dict)
    commanded: dict[str, float] = field(default_factory=dict)
    plots: dict[str, float] = field(default_factory=dict)
    state: str = ""
    words: str = ""
    forces: Forces | None = None


def moment(
    time: float,
    received: int,
    body: BodyFrame | None,
    raw: BodyFrame | None,
    joints: Any = None,
    trajectory: Any = None,
    status: Any = None,
    prediction: Any = None,
) -> Moment:
    """Make an instant from the newest messages before it.

    Args:
        time: s.
        received: ns, receive time of ``body``.
        body, raw: the body to show, and the body before smoothing.
        joints, trajectory, status, prediction: the newest messages ``JointState``,
            ``JointTrajectory``, ``SupervisorStatus`` and ``BodyPrediction``, decoded by any
            library.
    """
    shown = Moment(time)
    if body is not None:
        shown.body = _array(body)
        shown.covariance = body.covariance
        shown.predicted = _predicted(prediction, body)
        if body.newest_input:
            shown.plots["latency, ms"] = (received - body.newest_input) / 1e6
        shown.plots["confidence"] = float(np.nanmean(body.confidence))
        if body.covariance is not None:
            shown.plots["position in the room, ± m (90 %)"] = float(
                CIRCLE_90 * np.sqrt(max(body.covariance[0, 0, 0], body.covariance[0, 1, 1]))
            )
    if raw is not None:
        shown.raw = _array(raw)
    if joints is not None:
        shown.joints = _angles(joints.name, joints.position)
    if trajectory is not None and len(trajectory.points):
        shown.commanded = _angles(trajectory.joint_names, trajectory.points[0].positions)
    lines = list(body.remarks[:3]) if body is not None else []
    if status is not None:
        shown.state = str(status.state_name)
        shown.plots["speed scale"] = float(status.speed_scale)
        lines = [
            str(status.reason),
            *_followed(status),
            f"limited by {', '.join(status.limited_by) or 'nothing'}",
            *lines,
        ]
    shown.words = "\n".join(line for line in lines if line)
    return shown


def unknown_joints(body: F64) -> str:
    """Name the joints of a body (22, 7) without a finite pose, as text; empty if there is none."""
    names = [JOINTS[joint] for joint in np.flatnonzero(~np.isfinite(body).all(axis=1))]
    if not names:
        return ""
    if len(names) == len(JOINTS):
        return "no joint is known"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"not known: {', '.join(names[:_MOST_NAMED])}{more}"


def operators_record(records: Iterable[Any], status: Any, before: str = "") -> Any:
    """Select the newest body of the operator that ``status`` names; without an operator, that of
    the person ``before``; otherwise the newest body.

    Several people may be in view, each with separate messages.

    Args:
        records: body messages, newest first, at least one.
        status: ``SupervisorStatus`` message, or None.
        before: id of the person who was shown before, or empty.
    """
    operator = getattr(status, "operator_id", "") or before
    newest = None
    for record in islice(records, _MOST_PEOPLE):
        newest = record if newest is None else newest
        if not operator or record.body_id == operator:
            return record
    return newest


def _followed(status: Any) -> list[str]:
    """The operator and the other people in view, as text; older bags do not contain them."""
    operator = getattr(status, "operator_id", "")
    people = list(getattr(status, "people", []))
    others = [str(name) for name in people if name != operator]
    lines = [f"operator: {operator}"] if operator else []
    return lines + ([f"also in view: {', '.join(others)}"] if operator and others else [])


class Recording(Protocol):
    """Interface of recordings that the viewer plays."""

    duration: float
    robot: str

    def at(self, time: float) -> Moment:
        """The instant ``time`` s after the start."""
        ...


class MotionFile:
    """A motion file of any known format as a recording.

    Attributes:
        motion: its contents.
        found: description of the file and of what was detected.
    """

    def __init__(self, path: Path, overrides: Overrides | None = None) -> None:
        """Read the file.

        Raises:
            PallasError: see `pallas_ros.motion_files.read_motion`.
        """
        file = read(path, overrides)
        self.motion = file.motion
        self.found = file.found
        self.duration = max(self.motion.duration, 1e-3)
        self.robot = ""
        origin = Origin.of(self.motion.extra)
        self._words = () if origin is None else origin.lines()
        """Provenance of a generated motion."""

    def at(self, time: float) -> Moment:
        """The frame at ``time`` s."""
        motion = self.motion
        index = int(np.clip(round(time * motion.fps), 0, len(motion) - 1))
        covariance = (
            None if motion.position_covariance is None else motion.position_covariance[index]
        )
        good = motion.valid is None or bool(motion.valid[index])
        body = np.concatenate((motion.positions[index], motion.rotations[index]), axis=1)
        words = [*self._words, *([] if good else ["this frame is not valid"])]
        return Moment(time, body, covariance=covariance, words="\n".join(words))


WINDOW_S = 4.0
BEFORE_S = 1.0


class BagFile:
    """A bag as a recording, read a few seconds at a time, so that bags of any length open at once.

    Messages older than `BEFORE_S` are not shown. Of several people without an operator, the one
    shown before is shown again.

    Attributes:
        person: id of the person shown last, or to show first; empty for the newest body.
    """

    def __init__(self, path: Path) -> None:
        """Open the bag.

        Raises:
            PallasError: there is no bag, or it contains nothing to show.
        """
        self.bag = Bag(path)
        there = {name for name, topic in self.bag.topics.items() if topic.count}
        self.drawn = next(
            (
                topic
                for topic in (
                    TOPIC_HPSTM_BODY,
                    TOPIC_PALLAS_BODY,
                    TOPIC_POSE_BODY,
                    TOPIC_GENERATED_BODY,
                )
                if topic in there
            ),
            "",
        )
        if not self.drawn and TOPIC_JOINT_STATES not in there:
            raise PallasError(
                f"{path}: this bag contains neither bodies nor joint states of an arm, so there is"
                " nothing to show"
            )
        before = (TOPIC_GENERATED_BODY, TOPIC_PALLAS_BODY, TOPIC_POSE_BODY)
        self._raw = next((name for name in before if name in there and name != self.drawn), "")
        self._trajectory = next(
            (name for name in sorted(there) if self.bag.topics[name].msgtype == TRAJECTORY), ""
        )
        self._topics = {
            self.drawn,
            self._raw,
            self._trajectory,
            TOPIC_JOINT_STATES,
            TOPIC_SUPERVISOR,
            TOPIC_PREDICTION,
        } & there
        if there & {TOPIC_JOINT_EFFORTS, *TOPICS_GROUND}:
            self._topics |= {TOPIC_JOINT_EFFORTS, *TOPICS_GROUND, TOPIC_TF} & there
        self.duration = max(self.bag.duration, 1e-3)
        described = (
            self.bag.read(TOPIC_ROBOT_DESCRIPTION) if TOPIC_ROBOT_DESCRIPTION in there else iter(())
        )
        self.robot = next((str(message.data) for _, message in described), "")
        self.person = ""
        self._window = -1
        self._messages: dict[str, list[BagMessage]] = {}

    def body_span(self) -> tuple[float, float] | None:
        """Time (s) of the first body, and end of the bag (s); None without bodies."""
        first = next(self.bag.messages({self.drawn}), None) if self.drawn else None
        return None if first is None else ((first.stamp - self.bag.first) / 1e9, self.duration)

    def at(self, time: float) -> Moment:
        """The instant at ``time`` s."""
        stamp = self.bag.first + round(time * 1e9)
        window = int(time // WINDOW_S)
        if window != self._window:
            self._window = window
            self._messages = defaultdict(list)
            start = self.bag.first + round(window * WINDOW_S * 1e9)
            for message in self.bag.messages(
                self._topics, start - round(BEFORE_S * 1e9), start + round(WINDOW_S * 1e9)
            ):
                self._messages[message.topic].append(message)
        states = self._last(TOPIC_JOINT_STATES, stamp)[1]
        trajectory = self._last(self._trajectory, stamp)[1]
        status = self._last(TOPIC_SUPERVISOR, stamp)[1]
        received, body = self._last_body(self.drawn, stamp, status)
        self.person = self.person if body is None else str(body.body_id)
        raw = self._last_body(self._raw, stamp, status)[1]
        prediction = self._last(TOPIC_PREDICTION, stamp)[1]
        shown = moment(
            time, received, _body(body), _body(raw), states, trajectory, status, prediction
        )
        shown.forces = self._forces(stamp)
        return shown

    def _forces(self, stamp: int) -> Forces | None:
        if TOPIC_JOINT_EFFORTS not in self._topics:
            return None
        wrenches = [self._last(topic, stamp)[1] for topic in TOPICS_GROUND]
        newest = self._decoded(self._until(TOPIC_TF, stamp)[-NEWEST_TRANSFORMS:])
        transforms = (one for message in newest for one in message.transforms)
        return forces(self._last(TOPIC_JOINT_EFFORTS, stamp)[1], wrenches, transforms)

    def _last(self, topic: str, stamp: int) -> tuple[int, Any]:
        """Receive time (ns) and contents of the last message on ``topic`` until ``stamp`` ns; (0,
        None) if there is none, or it is damaged.
        """
        messages = self._until(topic, stamp)
        if not messages or messages[-1].stamp < stamp - BEFORE_S * 1e9:
            return 0, None
        try:
            return messages[-1].stamp, self.bag.decode(messages[-1])
        except PallasError:
            return 0, None

    def _last_body(self, topic: str, stamp: int, status: Any) -> tuple[int, Any]:
        """`_last`, of the operator that ``status`` names, or of the person shown before."""
        received, last = self._last(topic, stamp)
        if last is None:
            return received, last
        records = self._decoded(self._until(topic, stamp))
        return received, operators_record(records, status, self.person)

    def _until(self, topic: str, stamp: int) -> list[BagMessage]:
        """Messages of the window on ``topic`` until ``stamp`` ns."""
        messages = self._messages.get(topic, [])
        return messages[: bisect_right(messages, stamp, key=lambda message: message.stamp)]

    def _decoded(self, messages: list[BagMessage]) -> Iterator[Any]:
        """Decoded messages, newest first."""
        for message in reversed(messages):
            with suppress(PallasError):
                yield self.bag.decode(message)


def _body(record: Any) -> BodyFrame | None:
    try:
        return None if record is None else body_from_msg(record)
    except PallasError:
        return None


def _predicted(prediction: Any, body: BodyFrame) -> F64 | None:
    """The last body of a prediction, if it was made from about this body."""
    if prediction is None or not len(prediction.bodies) or prediction.body_id != body.body_id:
        return None
    made = from_stamp(prediction.header.stamp)
    expected = _body(prediction.bodies[-1])
    return None if expected is None or abs(body.stamp - made) > 1e9 else _array(expected)


def _array(body: BodyFrame) -> F64:
    return np.concatenate((body.positions, body.rotations), axis=1)


def _angles(names: Any, positions: Any) -> dict[str, float]:
    return dict(zip(map(str, names), np.asarray(positions, dtype=float).tolist()))
