"""Figures of a run from the received messages: rate, gaps, latency, body error, lost messages.

They are computed live by the monitor node, or later from a bag (`of_bag`), so that reported figures
can be reproduced.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pallas_ros.bags import Bag
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import (
    TOPIC_DIAGNOSTICS,
    TOPIC_HPSTM_BODY,
    TOPIC_PALLAS_BODY,
    TOPIC_TRUTH_BODY,
)
from pallas_ros.messages.decode import body_from_msg, from_stamp

F64 = NDArray[np.float64]

RECEIVED = "received "
"""Key prefix of a topic in a node's `/diagnostics`: "count first last" of the received header
stamps (`ros.node.Tally`).
"""

LOST = "lost "
"""Key prefix of a topic in the recorder's `/diagnostics`: messages lost, by sequence number."""


@dataclass
class Run:
    """Data of a run. Times are ns; reception timestamps come from the subscriber's middleware.

    Attributes:
        body_times: receptions of `/pallas/body`.
        latencies: s, from the timestamp of the newest IMU sample used in a body to the reception of
            the first joint command based on that body.
        errors: (22,) m for each body with ground truth: distances of the joints, aligned at the
            pelvis.
    """

    body_times: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    errors: list[F64] = field(default_factory=list)
    _newest_input: dict[int, int] = field(default_factory=dict)
    _commands: dict[int, int] = field(default_factory=dict)
    _truth: dict[int, F64] = field(default_factory=dict)
    _bodies: dict[int, F64] = field(default_factory=dict)

    def body(self, received: int, body: BodyFrame) -> None:
        """Add a body of `/pallas/body`."""
        self.body_times.append(received)
        self._compare(body.stamp, self._bodies, body.positions, self._truth)

    def truth(self, body: BodyFrame) -> None:
        """Add a body played by the simulator."""
        self._compare(body.stamp, self._truth, body.positions, self._bodies)

    def smoothed(self, stamp: int, newest_input: int) -> None:
        """Add a body of `/hpstm/body`, which the arm follows."""
        self._newest_input[stamp] = newest_input
        self._trace(stamp)

    def command(self, received: int, stamp: int) -> None:
        """Add a joint command and the timestamp of the body it is based on.

        Further commands for the same body are not counted.
        """
        if stamp not in self._commands:
            self._commands[stamp] = received
            self._trace(stamp)

    @property
    def commands(self) -> int:
        """Number of joint commands, one per body."""
        return len(self._commands)

    def summary(self) -> dict[str, float | None]:
        """Return ``body_rate_hz``, ``max_gap_ms``, ``latency_p50_ms``, ``latency_p99_ms``,
        ``body_error_cm``; None if not measured.
        """
        times = np.array(self.body_times, dtype=np.int64)
        gaps = np.diff(times) * 1e-9
        latency = np.percentile(self.latencies, [50, 99]) * 1e3 if self.latencies else (None, None)
        return {
            "body_rate_hz": _rounded(len(gaps) / gaps.sum() if len(gaps) else None),
            "max_gap_ms": _rounded(gaps.max() * 1e3 if len(gaps) else None),
            "latency_p50_ms": _rounded(latency[0]),
            "latency_p99_ms": _rounded(latency[1]),
            "body_error_cm": _rounded(100 * float(np.mean(self.errors)) if self.errors else None),
        }

    def _compare(
        self, stamp: int, mine: dict[int, F64], positions: F64, theirs: dict[int, F64]
    ) -> None:
        relative = positions - positions[0]
        other = theirs.pop(stamp, None)
        if other is None:
            mine[stamp] = relative
        elif np.isfinite(relative).all() and np.isfinite(other).all():
            self.errors.append(np.asarray(np.linalg.norm(relative - other, axis=1)))

    def _trace(self, stamp: int) -> None:
        if stamp in self._commands and stamp in self._newest_input:
            self.latencies.append((self._commands[stamp] - self._newest_input.pop(stamp)) * 1e-9)


def of_bag(bag: Bag, command_topic: str) -> tuple[Run, int]:
    """Return the figures of a recorded run and the messages lost in it (`lost`)."""
    run = Run()
    statuses = {}
    stamps: dict[str, list[int]] = defaultdict(list)
    for message in bag.messages():
        try:
            record = bag.decode(message)
            if hasattr(record, "header"):
                stamps[message.topic].append(from_stamp(record.header.stamp))
            if message.topic == TOPIC_PALLAS_BODY:
                run.body(message.stamp, body_from_msg(record))
            elif message.topic == TOPIC_TRUTH_BODY:
                run.truth(body_from_msg(record))
            elif message.topic == TOPIC_HPSTM_BODY:
                run.smoothed(from_stamp(record.header.stamp), from_stamp(record.newest_input))
            elif message.topic == command_topic:
                run.command(message.stamp, from_stamp(record.header.stamp))
            elif message.topic == TOPIC_DIAGNOSTICS:
                statuses.update(
                    {
                        status.name: {pair.key: pair.value for pair in status.values}
                        for status in record.status
                    }
                )
        except PallasError:
            continue
    return run, lost(statuses, stamps)


def lost(statuses: Mapping[str, Mapping[str, Any]], stamps: Mapping[str, Iterable[int]]) -> int:
    """Count messages that were sent but not received.

    Args:
        statuses: node -> its last figures in `/diagnostics`.
        stamps: topic -> header stamps (ns) of all recorded messages.

    Returns:
        Over all nodes and topics, the number of recorded stamps between the first and the last one
        received by the node that it did not receive, plus the recorder's own losses by the
        middleware's sequence numbers.
    """
    count = 0
    arrays = {
        topic: np.unique(np.fromiter(values, dtype=np.int64)) for topic, values in stamps.items()
    }
    for figures in statuses.values():
        for key, value in figures.items():
            if key == "lost":
                count += int(value)
            elif (
                key.startswith(RECEIVED)
                and (sent := arrays.get(key.removeprefix(RECEIVED))) is not None
            ):
                received, first, last = (int(word) for word in str(value).split())
                count += max(0, int(((sent >= first) & (sent <= last)).sum()) - received)
    return count


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 3)
