"""Detect jumps of the system clock, set by a user or by NTP."""

JUMP_NS = 500_000_000
"""Larger than clock drift and than any scheduling delay between the two clock reads."""


class ClockWatch:
    """Compare the system clock with a monotonic one.

    Attributes:
        jumps: number of clock jumps.
        last_ns: size of the last jump; positive: forward.
    """

    def __init__(self) -> None:
        self.jumps = 0
        self.last_ns = 0
        self._offset: int | None = None

    def look(self, now: int, steady: int) -> str:
        """Return a message if the clock has jumped since the last call, else nothing.

        Args:
            now: time of the settable clock (ns).
            steady: time of the monotonic clock (ns), read at the same moment.
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
            " jump with it; do not step the clock while the arm moves (chrony slews it)"
        )

    def figures(self) -> dict[str, str]:
        """Figures for diagnostics; empty if the clock never jumped."""
        if not self.jumps:
            return {}
        return {"clock jumps": str(self.jumps), "last clock jump s": f"{self.last_ns / 1e9:+.1f}"}
