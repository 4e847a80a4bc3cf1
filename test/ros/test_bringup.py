"""The order of the bringup, decided by a plain object with simulated time and node responses."""

from collections.abc import Mapping

import pytest

from pallas_ros.graph.bringup import (
    ACTIVATE,
    ACTIVE,
    CONFIGURE,
    INACTIVE,
    UNCONFIGURED,
    Bringup,
    Patience,
    Phase,
    Report,
)

NODES = ("arm", "body", "sensor")
PATIENCE = Patience(start=60.0, connect=10.0, explain=3.0, silence=5.0)


class World:
    """Nodes that respond as requested, unless a test overrides it."""

    def __init__(self) -> None:
        self.bringup = Bringup(NODES, PATIENCE)
        self.now = 0.0
        self.asked: list[tuple[str, str]] = []
        self.offered = set(NODES)
        self.links: dict[str, dict[str, int]] = {node: {} for node in NODES}
        self.expected: dict[str, dict[str, int | None]] = {node: {} for node in NODES}
        self.refuses: dict[str, str] = {}
        self.states = dict.fromkeys(NODES, UNCONFIGURED)
        self.loses: list[tuple[str, str]] = []

    def expect(self, node: str, links: Mapping[str, int]) -> dict[str, int | None]:
        return self.expected[node]

    def tick(self, seconds: float = 0.1) -> None:
        self.now += seconds
        for node in NODES:
            report = Report(self.states[node], self.links[node], self.refuses.get(node, ""))
            self.bringup.reported(node, report, self.now)
        for node, transition in self.bringup.step(self.now, self.offered.__contains__, self.expect):
            self.asked.append((node, transition))
            if (node, transition) in self.loses:
                self.loses.remove((node, transition))
                continue
            accepted = node not in self.refuses
            if accepted:
                self.states[node] = INACTIVE if transition == CONFIGURE else ACTIVE
            self.bringup.answered(node, accepted, self.now)

    def run(self, ticks: int = 20) -> None:
        for _ in range(ticks):
            self.tick()


def test_all_are_configured_before_the_first_is_activated_and_those_that_listen_come_first() -> (
    None
):
    world = World()
    world.run()
    configured = world.asked[:3]
    activated = world.asked[3:]
    assert {transition for _, transition in configured} == {CONFIGURE}
    assert activated == [(node, ACTIVATE) for node in NODES]
    assert world.bringup.phase is Phase.UP


def test_nothing_is_activated_while_a_node_has_not_started() -> None:
    world = World()
    world.offered.remove("sensor")
    world.run()
    assert world.asked == [("arm", CONFIGURE), ("body", CONFIGURE)]
    world.offered.add("sensor")
    world.run()
    assert world.bringup.phase is Phase.UP


@pytest.mark.parametrize("count", [None, 1])
def test_nothing_is_activated_while_a_topic_is_not_connected(count: int | None) -> None:
    world = World()
    world.expected["body"] = {"publishers of /imu": count}
    world.run()
    assert [transition for _, transition in world.asked] == [CONFIGURE] * 3
    world.links["body"]["publishers of /imu"] = 1
    world.expected["body"] = {"publishers of /imu": 1}
    world.run()
    assert world.bringup.phase is Phase.UP
    assert not world.bringup.unconnected


def test_subscriptions_made_on_activation_connect_before_the_next_node() -> None:
    """A recorder subscribes to the existing topics when it is activated."""
    world = World()
    world.tick()
    world.tick()
    assert world.asked[-1] == ("arm", ACTIVATE)
    world.expected["body"] = {"subscribers of /body": 1}
    world.run(5)
    assert world.asked[-1] == ("arm", ACTIVATE)
    world.links["body"]["subscribers of /body"] = 1
    world.run()
    assert world.bringup.phase is Phase.UP


def test_what_never_connects_is_named_and_does_not_hold_the_graph_up_for_ever() -> None:
    world = World()
    world.expected["body"] = {"publishers of /imu": 1}
    world.run(150)
    assert world.bringup.phase is Phase.UP
    assert world.bringup.unconnected == ["body: publishers of /imu"]


def test_a_refusal_ends_the_start_with_the_sentence_of_the_node() -> None:
    world = World()
    world.refuses["body"] = "none.yaml: no such file"
    world.run()
    assert world.bringup.failure == "body did not configure: none.yaml: no such file"
    assert world.bringup.phase is Phase.FAILED
    assert not [node for node, transition in world.asked if transition == ACTIVATE]


def test_a_node_that_never_comes_ends_the_start() -> None:
    world = World()
    world.offered.clear()
    world.run(700)
    assert world.bringup.failure == "arm did not start within 60 s"


@pytest.mark.parametrize("lost", [CONFIGURE, ACTIVATE])
def test_a_request_that_got_lost_is_repeated(lost: str) -> None:
    world = World()
    world.loses = [("body", lost)]
    world.run(60)
    assert world.asked.count(("body", lost)) == 2
    assert len(world.asked) == 2 * len(NODES) + 1
    assert world.bringup.phase is Phase.UP


def test_the_refusal_of_a_repeated_request_is_ignored_if_the_first_one_was_only_late() -> None:
    bringup = Bringup(("body",), PATIENCE)
    offered = {"body"}.__contains__
    assert bringup.step(0.0, offered, lambda node, links: {}) == [("body", CONFIGURE)]
    bringup.reported("body", Report(UNCONFIGURED), 2.5)
    assert bringup.step(2.5, offered, lambda node, links: {}) == [("body", CONFIGURE)]
    bringup.answered("body", True, 3.0)
    bringup.answered("body", False, 3.1)
    assert bringup.step(3.2, offered, lambda node, links: {}) == [("body", ACTIVATE)]
    assert bringup.failure is None


def test_a_node_that_does_not_report_while_it_configures_is_asked_once() -> None:
    bringup = Bringup(("body",), PATIENCE)
    offered = {"body"}.__contains__
    bringup.reported("body", Report(UNCONFIGURED), 0.0)
    requests = [bringup.step(0.1 * k, offered, lambda node, links: {}) for k in range(300)]
    assert [request for request in requests if request] == [[("body", CONFIGURE)]]


@pytest.mark.parametrize("heard", [False, True])
def test_a_configuration_that_never_ends_is_reported_with_the_last_report(heard: bool) -> None:
    bringup = Bringup(("body",), PATIENCE)
    bringup.step(0.0, {"body"}.__contains__, lambda node, links: {})
    if heard:
        bringup.reported("body", Report(UNCONFIGURED), 1.0)
    bringup.step(61.0, {"body"}.__contains__, lambda node, links: {})
    last = "its last report, 60 s ago, says unconfigured" if heard else "it has not reported at all"
    assert bringup.failure == f"body did not configure within 60 s; {last}"


def test_a_lost_answer_is_replaced_by_the_published_state() -> None:
    bringup = Bringup(NODES, PATIENCE)
    asked = []
    for count in range(100):
        for node in NODES:
            state = UNCONFIGURED
            if (node, CONFIGURE) in asked:
                state = INACTIVE
            if (node, ACTIVATE) in asked:
                state = ACTIVE
            bringup.reported(node, Report(state), 0.1 * count)
        asked += bringup.step(0.1 * count, lambda node: True, lambda node, links: {})
    assert bringup.phase is Phase.UP


def test_a_silent_node_and_one_that_is_no_longer_active_are_reported() -> None:
    world = World()
    world.run()
    assert world.bringup.remarks(world.now) == []
    world.states["body"] = INACTIVE
    world.tick()
    assert world.bringup.remarks(world.now) == ["body is inactive"]
    for node in ("arm", "body"):
        world.bringup.reported(node, Report(ACTIVE), world.now + 20)
    assert world.bringup.remarks(world.now + 20) == ["sensor has been silent for 20 s"]
