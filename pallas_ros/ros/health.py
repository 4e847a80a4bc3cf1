"""What a node says of itself on `/diagnostics`."""

from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from pallas_ros.messages.encode import to_stamp

RECEIVED = "received "
"""Before a topic's name in `/diagnostics`: how many different header stamps came, and the first and
the last (ns): `Tally`.
"""

STATE = "state"
REFUSAL = "refusal"
"""Names in `/diagnostics`: the node's lifecycle state, and why it refused its last transition where
it did.
"""

SUBSCRIBERS = "subscribers of "
PUBLISHERS = "publishers of "
"""Before a topic's name in `/diagnostics`: how many others the node's publisher, or its
subscription, of this topic is connected with.
"""

TAPS = "_taps"
"""What the name of a node ends in that only holds subscriptions for the node named before it."""


@dataclass
class Health:
    """What a node says of itself once a second: ``level`` 0 well, 1 a warning, 2 an error;
    ``summary`` in words; figures.
    """

    level: int = 0
    summary: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def message(self, name: str, stamp: int) -> DiagnosticArray:
        """As the status of the node ``name`` at ``stamp`` ns."""
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
    """Header stamps of a topic that reached a callback: with a recording of the topic, how many did
    not (`figures.lost`).
    """

    stamps: int = 0
    first: int = 0
    last: int = 0

    def add(self, stamp: int) -> None:
        """Count a stamp that is not the last one again."""
        if stamp != self.last:
            self.stamps = self.stamps + 1
            self.first = self.first or stamp
            self.last = stamp

    def __str__(self) -> str:
        """Three numbers."""
        return f"{self.stamps} {self.first} {self.last}"
