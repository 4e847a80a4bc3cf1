"""Bringup of a graph: configure all nodes, wait for connections, then activate them one by one.

This plain object makes the decisions; the node `lifecycle_manager` sends the requests and receives
the reports. The nodes are in order of activation: subscribers before publishers, so from the arm
back to the sensors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

CONFIGURE = "configure"
ACTIVATE = "activate"
UNCONFIGURED = "unconfigured"
INACTIVE = "inactive"
ACTIVE = "active"


class Phase(Enum):
    """Phase of the bringup."""

    CONFIGURING = "configuring"
    CONNECTING = "connecting"
    ACTIVATING = "activating"
    UP = "up"
    FAILED = "failed"


@dataclass(frozen=True)
class Report:
    """Status reported by a node.

    Attributes:
        state: `UNCONFIGURED`, `INACTIVE` or `ACTIVE`.
        links: name of a connection -> number of matched endpoints.
        refusal: why its last transition failed, or empty.
    """

    state: str
    links: Mapping[str, int] = field(default_factory=dict)
    refusal: str = ""


@dataclass(frozen=True)
class Patience:
    """Timeouts in s.

    Attributes:
        start: for a node's process to offer its services, and then for `configure`, which loads
            models.
        connect: for every topic to be connected; then the graph continues with a warning.
        explain: for a node's report of why a transition failed.
        repeat: time after which a request is sent again to a node that still reports its old state.
            A node cannot report during a transition, so its request was lost.
        silence: after which a silent node is reported.
    """

    start: float = 120.0
    connect: float = 15.0
    explain: float = 3.0
    repeat: float = 2.0
    silence: float = 5.0


Expected = Callable[[str, Mapping[str, int]], Mapping[str, int | None]]
"""(node, its links) -> expected number of endpoints of each link; None: not discovered yet."""


@dataclass
class _Node:
    report: Report | None = None
    reported_at: float = 0.0
    asked: tuple[str, float] | None = None  # transition and time of the first request
    sent: float = 0.0  # time of the last request
    refused: float | None = None


class Bringup:
    """Bring up a graph and monitor it; time is in the caller's monotonic seconds.

    Attributes:
        phase: current phase.
        failure: why it did not come up, in one sentence, or None.
        unconnected: the links that were not connected in time.
    """

    def __init__(self, nodes: Sequence[str], patience: Patience | None = None) -> None:
        """``nodes`` are in order of activation."""
        self.phase = Phase.CONFIGURING
        self.failure: str | None = None
        self.unconnected: list[str] = []
        self._order = tuple(nodes)
        self._nodes = {node: _Node() for node in nodes}
        self._patience = patience or Patience()
        self._since: float | None = None  # start of the phase, or of the wait for connections

    def reported(self, node: str, report: Report, now: float) -> None:
        """Process a node's report; nodes outside the graph are ignored."""
        if node in self._nodes:
            self._nodes[node].report = report
            self._nodes[node].reported_at = now

    def answered(self, node: str, accepted: bool, now: float) -> None:
        """Process a node's response to the requested transition."""
        state = self._nodes[node]
        if state.asked is None:
            return
        if not accepted:
            # the second of two requests is refused if the first one was only late
            if not self._reached(node, state.asked[0]):
                state.refused = now
        else:
            reached = INACTIVE if state.asked[0] == CONFIGURE else ACTIVE
            links = state.report.links if state.report is not None else {}
            state.report = Report(reached, links)
            state.reported_at = now

    def step(
        self, now: float, offered: Callable[[str], bool], expected: Expected
    ) -> list[tuple[str, str]]:
        """Return the next request: (node, transition).

        Args:
            now: s.
            offered: whether a node's services are available.
            expected: its expected connections.
        """
        if self._since is None:
            self._since = now
        if self.phase in (Phase.UP, Phase.FAILED) or self._failed(now):
            return []
        if self.phase is Phase.CONFIGURING:
            if not all(self._state(node) in (INACTIVE, ACTIVE) for node in self._order):
                return self._configure(now, offered)
            self.phase = Phase.CONNECTING
            self._since = now
        waiting = next((node for node in self._order if self._state(node) != ACTIVE), None)
        if waiting is None:
            self.phase = Phase.UP
            return []
        if self._is_requested(waiting, ACTIVATE):
            return self._lost_requests([waiting], now)
        missing = self._missing(expected)
        # a link that timed out before is not waited for again
        if set(missing) - set(self.unconnected):
            if now - self._since < self._patience.connect:
                return []
            self.unconnected = missing
        self.phase = Phase.ACTIVATING
        self._since = now
        return [self._request(waiting, ACTIVATE, now)]

    def remarks(self, now: float) -> list[str]:
        """Describe problems of a running graph, one sentence per node."""
        if self.phase is not Phase.UP:
            return []
        found = []
        for name, node in self._nodes.items():
            silent = now - node.reported_at
            if silent > self._patience.silence:
                found.append(f"{name} has been silent for {silent:.0f} s")
            elif self._state(name) != ACTIVE:
                found.append(f"{name} is {self._state(name)}")
        return found

    def _configure(self, now: float, offered: Callable[[str], bool]) -> list[tuple[str, str]]:
        waiting = [node for node in self._order if self._state(node) not in (INACTIVE, ACTIVE)]
        wanted = [
            node for node in waiting if not self._is_requested(node, CONFIGURE) and offered(node)
        ]
        return self._lost_requests(waiting, now) + [
            self._request(node, CONFIGURE, now) for node in wanted
        ]

    def _request(self, node: str, transition: str, now: float) -> tuple[str, str]:
        state = self._nodes[node]
        if not self._is_requested(node, transition):
            state.asked = (transition, now)
        state.sent = now
        return node, transition

    def _lost_requests(self, waiting: Sequence[str], now: float) -> list[tuple[str, str]]:
        """Requests to send again, because their nodes have not received them."""
        requests = []
        for name in waiting:
            node = self._nodes[name]
            if node.asked is None or node.refused is not None:
                continue
            if node.reported_at - node.sent > self._patience.repeat:
                requests.append(self._request(name, node.asked[0], now))
        return requests

    def _failed(self, now: float) -> bool:
        assert self._since is not None
        for name, node in self._nodes.items():
            asked, since = node.asked or (None, self._since)
            if node.refused is not None:
                why = node.report.refusal if node.report is not None else ""
                if not why and now - node.refused < self._patience.explain:
                    continue
                self.failure = f"{name} did not {asked}" + (f": {why}" if why else "")
            elif not self._reached(name, asked) and now - since > self._patience.start:
                did = "start" if asked is None else asked
                self.failure = f"{name} did not {did} within {self._patience.start:g} s"
                if asked is not None:
                    self.failure += f"; {_last_report(node, now)}"
            else:
                continue
            self.phase = Phase.FAILED
            return True
        return False

    def _reached(self, node: str, asked: str | None) -> bool:
        return self._state(node) in ((ACTIVE,) if asked == ACTIVATE else (INACTIVE, ACTIVE))

    def _state(self, node: str) -> str | None:
        report = self._nodes[node].report
        return report.state if report is not None else None

    def _is_requested(self, node: str, transition: str) -> bool:
        asked = self._nodes[node].asked
        return asked is not None and asked[0] == transition

    def _missing(self, expected: Expected) -> list[str]:
        """Return links with too few endpoints, or with an unknown expected number."""
        missing = []
        for name, node in self._nodes.items():
            links = node.report.links if node.report is not None else {}
            for link, count in expected(name, links).items():
                if count is None or links.get(link, 0) < count:
                    missing.append(f"{name}: {link}")
        return missing


def _last_report(node: _Node, now: float) -> str:
    if node.report is None:
        return "it has not reported at all"
    return f"its last report, {now - node.reported_at:.0f} s ago, says {node.report.state}"
