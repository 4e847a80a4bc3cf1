"""Whose messages a topic takes, and how many: decided by the publisher, before a message is
deserialised. Needs no ROS.
"""

from collections.abc import Callable, Mapping

_NS = 1_000_000_000
_BURST_S = (
    0.25  # of messages at the highest rate may come at once: what a stall of the network leaves
)
_MOST_PUBLISHERS = 64
_LOOK_AGAIN_NS = _NS // 10  # in the graph, for the name of a publisher that is not known yet
# a publisher silent for so long may be replaced by another of the expected name
_GONE_NS = _NS // 2

Names = Callable[[], Mapping[str, str]]
"""Publishers of the topic: gid to the node's full name."""


def named(node: str, expected: str) -> bool:
    """Whether the ``node`` of that full name is the ``expected`` one: any where that is empty, in
    any namespace without a slash.
    """
    return expected in ("", node, node.rpartition("/")[2])


class RateLimit:
    """At most ``rate`` messages a second of each publisher (a token bucket each)."""

    def __init__(self, rate: float) -> None:
        """``rate`` in Hz."""
        self._rate = rate
        self._most = max(rate * _BURST_S, 2.0)
        self._buckets: dict[str, tuple[int, float]] = {}

    def admits(self, gid: str, now: int) -> bool:
        """Whether the publisher's message that came ``now`` (ns, monotonic) is taken."""
        if gid not in self._buckets and len(self._buckets) >= _MOST_PUBLISHERS:
            del self._buckets[min(self._buckets, key=lambda known: self._buckets[known][0])]
        last, left = self._buckets.get(gid, (now, self._most))
        left = min(left + (now - last) / _NS * self._rate, self._most)
        taken = left >= 1.0
        self._buckets[gid] = (now, left - taken)
        return taken


class OnePublisher:
    """One publisher at a time is listened to, and while ``locked`` no other takes its place.

    With an ``expected`` name only nodes so called are listened to, and one that was restarted may
    go on where the other went silent. Names can be forged; only SROS2 keeps a forger off the topic.
    """

    def __init__(self, names: Names, locked: Callable[[], bool], expected: str = "") -> None:
        """``expected``: a node's name, with its namespace where it begins with a slash; empty: the
        first publisher.
        """
        self._names = names
        self._locked = locked
        self._expected = expected
        self._known: Mapping[str, str] = {}
        self._looked = -_NS
        self._chosen: str | None = None
        self._heard = 0

    def admits(self, gid: str, now: int) -> bool:
        """Whether the publisher's message that came ``now`` (ns, monotonic) is taken."""
        if gid != self._chosen:
            if self._expected and not self._is_expected(gid, now):
                return False
            silent = bool(self._expected) and now - self._heard > _GONE_NS
            if self._chosen is not None and self._locked() and not silent:
                return False
            self._chosen = gid
        self._heard = now
        return True

    def _is_expected(self, gid: str, now: int) -> bool:
        if gid not in self._known and now - self._looked > _LOOK_AGAIN_NS:
            self._known = self._names()
            self._looked = now
        return gid in self._known and named(self._known[gid], self._expected)


class Intake:
    """Both checks of a topic, and what they refused.

    Attributes:
        flooded: messages refused because their publisher sent too many.
        unexpected: messages refused because they were another publisher's.
    """

    def __init__(self, rate: RateLimit, publisher: OnePublisher | None = None) -> None:
        """Without ``publisher`` anybody may publish."""
        self._rate = rate
        self._publisher = publisher
        self.flooded = self.unexpected = 0

    def admits(self, gid: str, now: int) -> bool:
        """Whether the publisher's message that came ``now`` (ns, monotonic) is taken."""
        if self._publisher is not None and not self._publisher.admits(gid, now):
            self.unexpected += 1
            return False
        if not self._rate.admits(gid, now):
            self.flooded += 1
            return False
        return True
