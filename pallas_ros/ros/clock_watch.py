"""Notices that somebody, or NTP, has set the machine's clock."""

JUMP_NS = 500_000_000
"""More than any clock drifts, and more than a process waits for a processor, between two looks at
the two clocks.
"""


class ClockWatch:
    """Compares a clock that can be set with one that cannot.

    Attributes:
        jumps: how often the clock was set.
        last_ns: by how much the last time; positive: ahead.
    """

    def __init__(self) -> None:
        self.jumps = 0
        self.last_ns = 0
        self._offset: int | None = None

    def look(self, now: int, steady: int) -> str:
        """What is to be reported, in words, or nothing.

        Args:
            now: ns of the clock that can be set.
            steady: ns of the other, read at the same time.
        """
        offset = now - steady
        before = self._offset
        self._offset = offset
        if before is None or abs(offset - before) < JUMP_NS:
            return ""
        self.jumps += 1
        self.last_ns = offset - before
        way = "ahead" if self.last_ns > 0 else "back"
        return (
            f"the clock of this machine was set {way} by {abs(self.last_ns) / 1e9:.1f} s: stamps"
            " jump with it; keep clocks steady while the arm moves (chrony slews instead of"
            " stepping)"
        )

    def figures(self) -> dict[str, str]:
        """For diagnostics: nothing where the clock was never set."""
        if not self.jumps:
            return {}
        return {"clock jumps": str(self.jumps), "last clock jump s": f"{self.last_ns / 1e9:+.1f}"}
