"""The switches that stop the arm, each known by its publisher: which are connected, which are
pressed, and when each last reported.

Times are ns of the supervisor's clock. No method raises on bad input.
"""

from hpstm_ros.safety.limits import SupervisorSettings

_NS = 1_000_000_000
_NEVER = -(10**18)
_MOST = 64
"""Switches of a kind; those beyond count together as one that stops the arm."""
_OTHERS = "others"


class EmergencySwitches:
    """Emergency-stop switches, by source; a stop is latched by the supervisor, not here.

    With ``emergency_stop`` ``connected`` or ``heartbeat``, every switch that was connected or has
    reported must stay: one that fails is `lost` until it is back or, if it is not connected any
    more, until `forget_gone`. Other switches do not replace it.
    """

    def __init__(self, settings: SupervisorSettings) -> None:
        """No switch is pressed, and none is connected."""
        self._settings = settings
        self._pressed: set[str] = set()
        self._gone: set[str] = set()  # pressed, and no longer connected
        self._connected: set[str] = set()
        self._known: dict[str, int] = {}  # when each last reported or was first connected
        self._heard = False

    @property
    def pressed(self) -> bool:
        """Whether any switch is pressed."""
        return bool(self._pressed)

    def press(self, now: int, source: str) -> None:
        """A switch reports that it is pressed."""
        self._pressed.add(source)
        self._gone.discard(source)
        self._report(now, source)

    def release(self, now: int, source: str) -> None:
        """A switch reports that it is released.

        Other pressed switches stay pressed, unless they are no longer connected. An empty
        ``source`` releases all.
        """
        self._report(now, source)
        self._pressed -= {source, "", *self._gone} if source else set(self._pressed)

    def connected(self, now: int, sources: set[str]) -> None:
        """The switches that are connected at ``now``."""
        self._connected = set(sources)
        self._gone = self._pressed - sources
        if self._settings.emergency_stop != "optional":
            for source in sources - self._known.keys():
                self._note(now, source)

    def missing(self, now: int) -> str:
        """The unmet requirement of the chosen mode, or empty."""
        mode = self._settings.emergency_stop
        if mode == "connected" and not self._connected:
            return "no emergency-stop switch is connected"
        if mode == "heartbeat" and not self._heard:
            return "the emergency-stop switch is silent"
        return self.lost(now)

    def lost(self, now: int) -> str:
        """Which failure of a known switch stops the arm, or empty."""
        mode = self._settings.emergency_stop
        if mode == "connected" and not self._known.keys() <= self._connected:
            return "an emergency-stop switch was disconnected; check it, then reset"
        if mode == "heartbeat" and any(self._silent(now, when) for when in self._known.values()):
            return "an emergency-stop switch is silent; check it, then reset"
        return ""

    def forget_gone(self, now: int) -> None:
        """Forget the known switches that are neither connected nor report, as a human demands."""
        heartbeat = self._settings.emergency_stop == "heartbeat"
        self._known = {
            source: when
            for source, when in self._known.items()
            if source in self._connected or (heartbeat and not self._silent(now, when))
        }
        self._heard = bool(self._known)

    def restart(self) -> None:
        """After the clock was set back, discard earlier reports. Pressed switches stay pressed."""
        self._known = dict.fromkeys(self._known, _NEVER)

    def _report(self, now: int, source: str) -> None:
        if self._settings.emergency_stop == "heartbeat":
            self._note(now, source)
            self._heard = True

    def _note(self, now: int, source: str) -> None:
        if source in self._known or len(self._known) < _MOST:
            self._known[source] = now
        else:
            self._known[_OTHERS] = _NEVER

    def _silent(self, now: int, when: int) -> bool:
        return not 0 <= now - when <= self._settings.emergency_stop_timeout * _NS


class DeadManSwitches:
    """Dead-man switches, by source: the arm may move while all of them are held.

    A switch that falls silent has failed: it counts as released until it reports again or a human
    engages the arm again (`forget_silent`), and no other switch replaces it.
    """

    def __init__(self, settings: SupervisorSettings) -> None:
        """No switch is known."""
        self._timeout = round(settings.dead_man_timeout * _NS)
        self._known: dict[str, tuple[int, bool]] = {}  # last report: when, and whether held

    def report(self, now: int, held: bool, source: str) -> None:
        """A switch reports whether it is held."""
        if source not in self._known and len(self._known) >= _MOST:
            self._known[_OTHERS] = (now, False)
        else:
            self._known[source] = (now, held)

    def wrong(self, now: int) -> str:
        """Why the arm must not move, or empty while the switches are held."""
        fresh = [self._fresh(now, when) for when, _ in self._known.values()]
        if not any(fresh) or not all(holds for _, holds in self._known.values()):
            return "the dead-man switch is released"
        if not all(fresh):
            return "a dead-man switch is silent; press it, or engage again without it"
        return ""

    def forget_silent(self, now: int) -> None:
        """Forget the switches that do not report, as a human demands."""
        self._known = {
            source: report for source, report in self._known.items() if self._fresh(now, report[0])
        }

    def restart(self) -> None:
        """After the clock was set back, discard the times of earlier reports."""
        self._known = {source: (_NEVER, holds) for source, (_, holds) in self._known.items()}

    def _fresh(self, now: int, when: int) -> bool:
        return 0 <= now - when <= self._timeout
