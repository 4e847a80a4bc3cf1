"""Filter the messages of a topic by publisher and by rate, before deserialisation.

Needs no ROS.
"""

from collections.abc import Callable, Mapping

_NS = 1_000_000_000
# seconds' worth of messages at the highest rate accepted in a burst, as after a network stall
_BURST_S = 0.25
_MOST_PUBLISHERS = 64
_LOOKUP_INTERVAL_NS = _NS // 10  # between graph look-ups of an unknown publisher's name
# After this time without messages a publisher may be replaced by another of the expected name.
_GONE_NS = _NS // 2
# A stall of this node looks like silence. Its queues are drained within this time, so that a
# publisher that did not stop is received again before another one has replaced it.
_PROBATION_NS = _NS // 10
# RTPS 2.5, 9.3.1: a GUID is the prefix of the participant (12 bytes) and an entity id (4 bytes).
# The gids of rmw_fastrtps are these GUIDs.
_PARTICIPANT_DIGITS = 2 * 12

Names = Callable[[], Mapping[str, str]]
"""Maps each publisher's gid to its node's full name."""


def named(node: str, expected: str) -> bool:
    """Whether the full name ``node`` matches ``expected``.

    An empty ``expected`` matches any node; one without a slash matches in any namespace.
    """
    return expected in ("", node, node.rpartition("/")[2])


def _same_participant(one: str, other: str) -> bool:
    """Whether two gids are those of one participant: as a rule, of one process."""
    return one[:_PARTICIPANT_DIGITS] == other[:_PARTICIPANT_DIGITS]


class RateLimit:
    """Limit each publisher to ``rate`` messages per second (one token bucket each)."""

    def __init__(self, rate: float) -> None:
        """Set the limit to ``rate`` Hz."""
        self._rate = rate
        self._most = max(rate * _BURST_S, 2.0)
        self._buckets: dict[str, tuple[int, float]] = {}

    def admits(self, gid: str, now: int) -> bool:
        """Whether to accept a message of the publisher that arrived at ``now`` (ns, monotonic)."""
        if gid not in self._buckets and len(self._buckets) >= _MOST_PUBLISHERS:
            del self._buckets[min(self._buckets, key=lambda known: self._buckets[known][0])]
        last, left = self._buckets.get(gid, (now, self._most))
        left = min(left + (now - last) / _NS * self._rate, self._most)
        taken = left >= 1.0
        self._buckets[gid] = (now, left - taken)
        return taken


class OnePublisher:
    """Accept one publisher at a time; while ``locked``, no other can take its place.

    With an ``expected`` name only nodes of that name are accepted, and a restarted one may take
    over after the previous one went silent. Names can be forged; only SROS2 prevents that. An empty
    gid is that of an unknown publisher: all publishers of the topic must then have the name.

    After the silence, the first message of another publisher only starts its probation. A later
    message replaces the previous publisher if nothing of that one was handled in between: it may
    have been this node that stalled.

    Attributes:
        number: of the accepted publisher, from 1; each replacement while locked counts, except by a
            publisher of the same participant: a node that was rebuilt publishes under a new gid. 0
            before the first.
    """

    def __init__(
        self,
        names: Names,
        locked: Callable[[], bool],
        expected: str = "",
        *,
        until_silent: bool = False,
    ) -> None:
        """``expected`` is a node name, with its namespace if it starts with a slash.

        If it is empty, the first publisher is accepted; with ``until_silent``, another one may
        replace it after it went silent even while locked.
        """
        self._names = names
        self._locked = locked
        self._expected = expected
        self._replaceable = bool(expected) or until_silent
        self._known: Mapping[str, str] = {}
        self._last_lookup = -_NS
        self._chosen: str | None = None
        self._last_message = 0
        self._probation: dict[str, int] = {}  # first message of each since the last accepted one
        self.number = 0

    def admits(self, gid: str, now: int) -> bool:
        """Whether to accept a message of the publisher that arrived at ``now`` (ns, monotonic)."""
        unsure = gid != self._chosen or not gid
        if self._expected and unsure and not self._is_expected(gid, now):
            return False
        if gid != self._chosen:
            if self._chosen is not None and self._locked() and not self._may_replace(gid, now):
                return False
            if self._chosen is None or (
                self._locked() and not _same_participant(gid, self._chosen)
            ):
                self.number += 1
            self._chosen = gid
        self._last_message = now
        self._probation.clear()
        return True

    def _may_replace(self, gid: str, now: int) -> bool:
        """Whether the accepted publisher is gone; starts the probation of the other one."""
        if not self._replaceable or now - self._last_message <= _GONE_NS:
            return False
        if gid not in self._probation and len(self._probation) >= _MOST_PUBLISHERS:
            self._probation.clear()
        return now - self._probation.setdefault(gid, now) >= _PROBATION_NS

    def _is_expected(self, gid: str, now: int) -> bool:
        if gid not in self._known and now - self._last_lookup > _LOOKUP_INTERVAL_NS:
            self._known = self._names()
            self._last_lookup = now
        if not gid:
            return bool(self._known) and all(
                named(name, self._expected) for name in self._known.values()
            )
        return gid in self._known and named(self._known[gid], self._expected)


class Intake:
    """Apply both checks to a topic and count rejected messages.

    Attributes:
        flooded: messages rejected by the rate limit.
        unexpected: messages rejected because they came from another publisher.
    """

    def __init__(self, rate: RateLimit, publisher: OnePublisher | None = None) -> None:
        """Without ``publisher``, accept any publisher."""
        self._rate = rate
        self._publisher = publisher
        self.flooded = self.unexpected = 0
        self._reported = 0

    def newly_rejected(self) -> int:
        """Messages of other publishers that were rejected since the last call."""
        count = self.unexpected - self._reported
        self._reported = self.unexpected
        return count

    def admits(self, gid: str, now: int) -> bool:
        """Whether to accept a message of the publisher that arrived at ``now`` (ns, monotonic)."""
        if self._publisher is not None and not self._publisher.admits(gid, now):
            self.unexpected += 1
            return False
        if not self._rate.admits(gid, now):
            self.flooded += 1
            return False
        return True
