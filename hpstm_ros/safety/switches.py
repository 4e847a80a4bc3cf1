"""The emergency-stop switches: which are connected, which are pressed, and since when.

Times are ns of the supervisor's clock. No method raises on bad input.
"""

from hpstm_ros.safety.limits import SupervisorSettings

_NS = 1_000_000_000
_NEVER = -(10**18)


class EmergencySwitches:
    """Emergency-stop switches, by source; a stop is latched by the supervisor, not here."""

    def __init__(self, settings: SupervisorSettings) -> None:
        """No switch is pressed, and none is connected."""
        self._settings = settings
        self._pressed: set[str] = set()
        self._gone: set[str] = set()  # pressed, and no longer connected
        self._reported = _NEVER
        self._connected = False

    @property
    def pressed(self) -> bool:
        """Whether any switch is pressed."""
        return bool(self._pressed)

    def press(self, now: int, source: str) -> None:
        """A switch reports that it is pressed."""
        self._pressed.add(source)
        self._gone.discard(source)
        self._reported = now

    def release(self, now: int, source: str) -> None:
        """A switch reports that it is released.

        Other pressed switches stay pressed, unless they are no longer connected. An empty
        ``source`` releases all.
        """
        self._reported = now
        self._pressed -= {source, "", *self._gone} if source else set(self._pressed)

    def connected(self, sources: set[str]) -> None:
        """The switches that are connected."""
        self._connected = bool(sources)
        self._gone = self._pressed - sources

    def missing(self, now: int) -> str:
        """The unmet requirement of the chosen mode, or empty."""
        settings = self._settings
        if settings.emergency_stop == "connected" and not self._connected:
            return "no emergency-stop switch is connected"
        silent = not 0 <= now - self._reported <= settings.emergency_stop_timeout * _NS
        if settings.emergency_stop == "heartbeat" and silent:
            return "the emergency-stop switch is silent"
        return ""

    def restart(self) -> None:
        """After the clock was set back, discard earlier reports. Pressed switches stay pressed."""
        self._reported = _NEVER
