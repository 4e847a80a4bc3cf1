"""Health of a node as published on `/diagnostics`."""

from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from pallas_ros.messages.encode import to_stamp

RECEIVED = "received "
"""Key prefix in `/diagnostics`: number of distinct header stamps on a topic, and the first and last
of them (ns); see `Tally`.
"""

STATE = "state"
REFUSAL = "refusal"
"""Keys in `/diagnostics`: the node's lifecycle state, and why its last transition failed."""

SUBSCRIBERS = "subscribers of "
PUBLISHERS = "publishers of "
"""Key prefixes in `/diagnostics`: number of endpoints matched with the node's publisher or
subscription of a topic.
"""

TAPS = "_taps"
"""Name suffix of a helper node that only holds the subscriptions of the node named before it."""


@dataclass
class Health:
    """Health of a node, published once a second.

    ``level`` is 0 (OK), 1 (warning) or 2 (error); ``summary`` is a sentence, followed by figures.
    """

    level: int = 0
    summary: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def message(self, name: str, stamp: int) -> DiagnosticArray:
        """Return the `/diagnostics` message of the node ``name`` at ``stamp`` ns."""
        status = DiagnosticStatus(
            level=bytes([self.level]),
            name=name,
            message=self.summary,
            hardware_id="pallas",
            values=[KeyValue(key=key, value=str(value)) for key, value in self.values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = to_stamp(stamp)
        return message


@dataclass(slots=True)
class Tally:
    """Count the header stamps of a topic that reached a callback.

    Compared with a recording of the topic, this gives the number of lost messages
    (`pallas_ros.graph.measurement.lost`).
    """

    stamps: int = 0
    first: int = 0
    last: int = 0

    def add(self, stamp: int) -> None:
        """Count a stamp, unless it repeats the previous one."""
        if stamp != self.last:
            self.stamps = self.stamps + 1
            self.first = self.first or stamp
            self.last = stamp

    def __str__(self) -> str:
        """Format as three numbers."""
        return f"{self.stamps} {self.first} {self.last}"
