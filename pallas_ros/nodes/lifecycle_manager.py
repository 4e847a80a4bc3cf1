"""Bring up the nodes of the graph in order, as Nav2's lifecycle manager does.

Afterwards their heartbeat on `/diagnostics` is monitored.
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.client import Client
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rclpy.task import Future

from pallas_ros.body.names import TOPIC_DIAGNOSTICS
from pallas_ros.graph.bringup import ACTIVATE, CONFIGURE, Bringup, Patience, Phase, Report
from pallas_ros.ros.health import PUBLISHERS, REFUSAL, STATE, SUBSCRIBERS, TAPS
from pallas_ros.ros.node import Health, PallasNode
from pallas_ros.ros.qos import NEWEST

STEP_S = 0.05
TRANSITIONS = {
    CONFIGURE: Transition.TRANSITION_CONFIGURE,
    ACTIVATE: Transition.TRANSITION_ACTIVATE,
}


class LifecycleManagerNode(PallasNode):
    """Adapter around `pallas_ros.graph.bringup.Bringup`."""

    ANNOUNCEMENT = "starting the graph"

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/lifecycle_manager.yaml`."""
        self._clients_of: dict[str, Client[Any, Any]] = {}
        self._requested: set[tuple[str, str]] = set()
        self._bringup = Bringup([])
        super().__init__("lifecycle_manager", **kwargs)

    def configure(self) -> None:
        """Subscribe to the nodes' diagnostics and create the service clients."""
        s = self.settings
        patience = Patience(
            start=s["start_timeout_s"], connect=s["connect_timeout_s"], silence=s["silence_s"]
        )
        self._bringup = Bringup(s["nodes"], patience)
        self._requested = set()
        self._started = time.monotonic()
        self._reported = Phase.CONFIGURING
        self._clients_of = {
            node: self.create_client(ChangeState, f"/{node}/change_state") for node in s["nodes"]
        }
        self.subscribe(DiagnosticArray, TOPIC_DIAGNOSTICS, self._on_diagnostics, NEWEST)
        self.every(STEP_S, self._step, steady=True)

    def cleanup(self) -> None:
        """Stop all requests."""
        for client in self._clients_of.values():
            self.destroy_client(client)
        self._clients_of = {}

    def health(self) -> Health:
        """Progress of the bringup, and nodes that are silent or no longer active."""
        bringup = self._bringup
        remarks = bringup.remarks(time.monotonic())
        summary = bringup.failure or "; ".join(remarks)
        level = 0 if bringup.phase is Phase.UP else 1
        if summary:
            level = 2
        unconnected = {"not connected": "; ".join(bringup.unconnected)}
        return Health(
            level,
            summary or f"the graph is {bringup.phase.value}",
            unconnected if bringup.unconnected else {},
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now = time.monotonic()
        for status in message.status:
            self._bringup.reported(status.name, _report(status), now)

    def _step(self) -> None:
        now = time.monotonic()
        for node, transition in self._bringup.step(now, self._offered, self._expected):
            if (node, transition) in self._requested:
                lost = f"{node} has not received the request to {transition}; sending it again"
                self.get_logger().warning(lost)
            self._requested.add((node, transition))
            request = ChangeState.Request(transition=Transition(id=TRANSITIONS[transition]))
            future = self._clients_of[node].call_async(request)
            future.add_done_callback(partial(self._on_answer, node))
        self._log_phase()

    def _on_answer(self, node: str, future: Future) -> None:
        answer = future.result()
        self._bringup.answered(node, answer is not None and answer.success, time.monotonic())

    def _log_phase(self) -> None:
        for remark in self._bringup.remarks(time.monotonic()):
            self.say(remark, key=remark.split(" ", 1)[0])
        phase = self._bringup.phase
        before = self._reported
        self._reported = phase
        if phase is before:
            return
        elapsed = time.monotonic() - self._started
        log = self.get_logger()
        if phase is Phase.CONNECTING:
            log.info(f"all nodes are configured after {elapsed:.1f} s")
        elif phase is Phase.UP:
            log.info(f"the graph is up after {elapsed:.1f} s")
            if self._bringup.unconnected:
                log.warning(f"not connected in time: {'; '.join(self._bringup.unconnected)}")
        elif phase is Phase.FAILED:
            self.fatal = self._bringup.failure

    def _offered(self, node: str) -> bool:
        return bool(self._clients_of[node].service_is_ready())

    def _expected(self, node: str, links: Mapping[str, int]) -> dict[str, int | None]:
        """Number of endpoints each link of ``node`` should match, according to discovery."""
        expected: dict[str, int | None] = {}
        for link in links:
            if link.startswith(SUBSCRIBERS):
                topic = link.removeprefix(SUBSCRIBERS)
                own = self.get_publishers_info_by_topic(topic)
                others = self.get_subscriptions_info_by_topic(topic)
            else:
                topic = link.removeprefix(PUBLISHERS)
                own = self.get_subscriptions_info_by_topic(topic)
                others = self.get_publishers_info_by_topic(topic)
            names = (node, f"{node}{TAPS}")
            mine = next((info.qos_profile for info in own if info.node_name in names), None)
            expected[link] = (
                mine
                if mine is None
                else sum(
                    _fit(mine, other.qos_profile, link.startswith(SUBSCRIBERS)) for other in others
                )
            )
        return expected


def _fit(mine: Any, other: Any, publishing: bool) -> bool:
    offered, wanted = (mine, other) if publishing else (other, mine)
    compatibility, _ = qos_check_compatible(offered, wanted)
    return bool(compatibility != QoSCompatibility.ERROR)


def _report(status: DiagnosticStatus) -> Report:
    values = {pair.key: pair.value for pair in status.values}
    links = {
        key: int(value)
        for key, value in values.items()
        if key.startswith((SUBSCRIBERS, PUBLISHERS)) and value.isdecimal()
    }
    return Report(values.get(STATE, ""), links, values.get(REFUSAL, ""))
