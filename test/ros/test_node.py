"""The base class of nodes, on real rclpy over loopback: parameters, transitions, exceptions in
callbacks, diagnostics.
"""

import ctypes
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from pallas_ros.body.errors import PallasError
from pallas_ros.ros.intake import Intake, RateLimit
from pallas_ros.ros.node import Health, PallasNode
from pallas_ros.ros.qos import ANY_OFFER, LATCHED
from pallas_ros.ros.run import make_executor, node_class

LIMIT_S = 20.0


class Echo(PallasNode):
    """Republishes received messages; rejects requests on demand."""

    def __init__(self, **kwargs: Any) -> None:
        self.events: list[str] = []
        super().__init__("pallas_node", **kwargs)

    def configure(self) -> None:
        self.events.append("configure")
        if self.settings["body_id"] == "refused":
            raise PallasError("this body id is refused: take another")
        self.out = self.advertise(String, "/out")
        self.subscribe(String, "/in", self._on)
        self.serve(Trigger, "/later", self._later)

    def activate(self) -> None:
        self.events.append("activate")

    def deactivate(self) -> None:
        self.events.append("deactivate")

    def cleanup(self) -> None:
        self.events.append("cleanup")

    def health(self) -> Health:
        return Health(0, "well")

    def _on(self, message: String) -> None:
        if message.data == "bad":
            raise ValueError("bad word")
        self.out.publish(message)

    async def _later(self, request: Any, response: Any) -> Any:
        self.promise = self.future()
        await self.promise
        raise PallasError("waited, and refused")


class World:
    """A node under test, a node that communicates with it, and an executor for both."""

    def __init__(self, nodes: list[Any]) -> None:
        self.executor = make_executor()
        self.peer = rclpy.create_node("peer")
        self.executor.add_node(self.peer)
        self.nodes = nodes
        self.nodes.append(self.peer)

    def add(self, **overrides: Any) -> Echo:
        node = Echo(
            parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()]
        )
        self.executor.add_node(node)
        self.nodes.append(node)
        return node

    def active(self) -> Echo:
        node = self.add()
        node.bring("configure")
        node.bring("activate")
        return node

    def talk(self) -> tuple[Any, list[str]]:
        """Return a publisher to the node, and the list of messages received from it."""
        heard: list[str] = []
        self.peer.create_subscription(
            String, "/out", lambda message: heard.append(message.data), 10
        )
        return self.peer.create_publisher(String, "/in", 10), heard

    def until(
        self, condition: Callable[[], Any], meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end, "it did not come"
            meanwhile()
            self.executor.spin_once(timeout_sec=0.02)


@pytest.fixture
def world(ros_nodes: list[Any]) -> World:
    return World(ros_nodes)


def test_a_message_that_raises_is_counted_and_the_node_continues(world: World) -> None:
    world.active()
    talk, heard = world.talk()
    statuses: list[Any] = []
    world.peer.create_subscription(
        DiagnosticArray, "/diagnostics", lambda message: statuses.extend(message.status), 10
    )
    world.until(lambda: "good" in heard, lambda: talk.publish(String(data="good")))
    talk.publish(String(data="bad"))
    talk.publish(String(data="after"))
    world.until(lambda: "after" in heard)
    world.until(
        lambda: any(
            pair.key == "errors of /in" and pair.value == "1"
            for status in statuses
            for pair in status.values
        )
    )
    assert statuses[-1].level == b"\x01"
    assert any(
        pair.key == "last error" and "bad word" in pair.value for pair in statuses[-1].values
    )


def test_an_inactive_node_neither_receives_nor_publishes(world: World) -> None:
    node = world.active()
    talk, heard = world.talk()
    world.until(lambda: heard, lambda: talk.publish(String(data="one")))
    node.trigger_deactivate()
    heard.clear()
    talk.publish(String(data="two"))
    for _ in range(20):
        world.executor.spin_once(timeout_sec=0.02)
    assert "two" not in heard
    assert node.events[-1] == "deactivate"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"height_m": 9.0}, "parameter 'height_m' is 9.0, but must be a float from 1.2 to 2.2 m"),
        ({"height_m": "tall"}, "parameter 'height_m' is 'tall'"),
        ({"hieght_m": 1.8}, "there is no parameter 'hieght_m': did you mean 'height_m'?"),
        ({"body_id": "refused"}, "this body id is refused: take another"),
    ],
)
def test_invalid_settings_are_rejected_at_configure_in_one_sentence(
    world: World, overrides: dict[str, Any], sentence: str
) -> None:
    node = world.add(**overrides)
    with pytest.raises(PallasError, match=sentence.replace("?", r"\?")):
        node.bring("configure")
    assert not node.active


def test_an_int_is_taken_where_a_float_is_wanted(world: World) -> None:
    assert world.add(height_m=2).settings["height_m"] == 2.0


def test_parameters_change_while_running_and_a_refused_change_leaves_all_as_it_was(
    world: World,
) -> None:
    node = world.active()
    too_tall, refused, good = (
        node.set_parameters([Parameter(name, value=value)])[0]
        for name, value in (("height_m", 3.0), ("body_id", "refused"), ("height_m", 1.9))
    )
    assert not too_tall.successful
    assert "from 1.2 to 2.2 m" in too_tall.reason
    assert not refused.successful
    assert refused.reason == "this body id is refused: take another"
    assert good.successful
    assert node.settings["height_m"] == 1.9
    assert node.settings["body_id"] == "operator"
    assert node.get_parameter("body_id").value == "operator"
    assert node.active
    talk, heard = world.talk()
    world.until(lambda: heard, lambda: talk.publish(String(data="still here")))


def test_a_read_only_parameter_stays(world: World) -> None:
    result = world.add().set_parameters([Parameter("priority", value=5)])[0]
    assert not result.successful
    assert "at start only" in result.reason


def test_a_service_may_answer_later_and_its_refusal_is_a_sentence(world: World) -> None:
    node = world.active()
    client = world.peer.create_client(Trigger, "/later")
    world.until(client.service_is_ready)
    answer = client.call_async(Trigger.Request())
    world.until(lambda: hasattr(node, "promise"))
    node.promise.set_result(None)
    world.until(answer.done)
    assert not answer.result().success
    assert answer.result().message == "waited, and refused"


def test_an_unknown_node_is_refused_with_the_closest_name() -> None:
    with pytest.raises(PallasError, match="did you mean 'imu_driver'"):
        node_class("imu_drivr")


def test_one_event_takes_all_received_messages(world: World) -> None:
    """EventsExecutor loses events in a burst: messages left unread by one event would delay all
    later ones.
    """
    node = world.active()
    talk, heard = world.talk()
    world.until(lambda: heard, lambda: talk.publish(String(data="hello")))
    world.until(lambda: node._counts["/in"] == len(list(node.pending("/in"))) + node._counts["/in"])
    before = node._counts["/in"]
    for number in range(8):
        talk.publish(String(data=str(number)))
    world.until(lambda: node._counts["/in"] > before)
    assert node._counts["/in"] == before + 8


def test_a_latched_message_whose_event_was_lost_is_taken_all_the_same(world: World) -> None:
    """rmw_fastrtps loses the event of a message that arrives while the events are being enabled."""
    node = world.add()
    node.bring("configure")
    heard: list[str] = []
    subscription = node.subscribe(
        String, "/latched", lambda message: heard.append(message.data), LATCHED
    )
    node.bring("activate")
    world.executor.spin_once(timeout_sec=0.02)
    disable_events(subscription)
    talk = world.peer.create_publisher(String, "/latched", LATCHED)
    talk.publish(String(data="once"))
    world.until(lambda: heard)
    assert heard == ["once"]


def disable_events(subscription: Any) -> None:
    """Simulate lost events of a subscription in an EventsExecutor."""
    maps = Path("/proc/self/maps").read_text().split()
    rcl = ctypes.CDLL(next(word for word in maps if word.endswith("librcl.so")))
    clear = rcl.rcl_subscription_set_on_new_message_callback
    clear.argtypes = [ctypes.c_void_p] * 3
    assert clear(subscription.handle.pointer, None, None) == 0


def test_a_newest_subscription_skips_and_counts_older_messages(world: World) -> None:
    """A node that cannot keep up drops messages instead of processing a queue of old ones."""
    node = world.add()
    node.bring("configure")
    taken: list[str] = []
    node.subscribe(String, "/news", lambda message: taken.append(message.data), newest=True)
    node.bring("activate")
    talk = world.peer.create_publisher(String, "/news", 10)
    world.until(lambda: taken, lambda: talk.publish(String(data="first")))
    world.until(lambda: not list(node.pending("/news")))
    taken.clear()
    for number in range(8):
        talk.publish(String(data=str(number)))
    world.until(lambda: taken and taken[-1] == "7")
    assert len(taken) + node._counts["skipped /news"] == 8
    assert taken == sorted(taken)


def test_the_newest_of_each_subject_is_taken(world: World) -> None:
    """The operator's body is not skipped when a passer-by's follows it."""
    node = world.add()
    node.bring("configure")
    taken: list[str] = []
    node.subscribe(
        String,
        "/people",
        lambda message: taken.append(message.data),
        newest=True,
        subject=lambda message: str(message.data[0]),
    )
    node.bring("activate")
    talk = world.peer.create_publisher(String, "/people", 20)
    world.until(lambda: taken, lambda: talk.publish(String(data="first")))
    world.until(lambda: not list(node.pending("/people")))
    taken.clear()
    for number in range(4):
        talk.publish(String(data=f"a{number}"))
        talk.publish(String(data=f"b{number}"))
    world.until(lambda: taken and taken[-1] == "b3")
    assert "a3" in taken


def test_a_raw_subscription_counts_stamps(world: World) -> None:
    node = world.add()
    node.bring("configure")
    taken: list[bytes] = []
    node.subscribe(JointState, "/raw", taken.append, raw=True)
    node.bring("activate")
    talk = world.peer.create_publisher(JointState, "/raw", 10)
    message = JointState()
    message.header.stamp.sec = 5
    message.header.stamp.nanosec = 7
    world.until(lambda: taken, lambda: talk.publish(message))
    assert node._tallies["/raw"].last == 5_000_000_007


class Busy(PallasNode):
    """A node that receives more than it can process: each message causes two."""

    def __init__(self) -> None:
        self.ticks = self.heard = self.heard_at_tick = self.most_between = 0
        super().__init__("pallas_node")

    def configure(self) -> None:
        self.talk = self.advertise(String, "/more")
        self.subscribe(String, "/more", self._on)
        self.every(0.05, self._tick)

    def _on(self, message: String) -> None:
        self.heard += 1
        self.talk.publish(message)
        self.talk.publish(message)
        time.sleep(0.01)

    def _tick(self) -> None:
        self.ticks += 1
        self.most_between = max(self.most_between, self.heard - self.heard_at_tick)
        self.heard_at_tick = self.heard


def test_timers_run_in_a_node_that_gets_more_messages_than_it_can_work_off(world: World) -> None:
    node = Busy()
    world.executor.add_node(node)
    world.nodes.append(node)
    node.bring("configure")
    node.bring("activate")
    for _ in range(10):
        node.talk.publish(String(data="go"))
    end = time.monotonic() + LIMIT_S
    while node.ticks < 30:
        assert time.monotonic() < end, f"{node.ticks} ticks, {node.heard} messages"
        world.executor.spin_once(timeout_sec=0.02)
    assert node.heard > 30
    # 10 in 0.1 s; regression: all queued messages were handled before a timer, on a slow machine
    # for more than a second
    assert node.most_between <= 30


def test_rejected_messages_are_not_pending(world: World) -> None:
    """Otherwise taking all received messages would let a flood pass."""
    node = world.add()
    node.bring("configure")
    taken: list[str] = []
    limit = Intake(RateLimit(1.0))

    def take(message: String) -> None:
        taken.append(message.data)
        taken.extend(later.data for later in node.pending("/flood"))

    node.subscribe(String, "/flood", take, intake=limit)
    node.bring("activate")
    talk = world.peer.create_publisher(String, "/flood", 10)
    world.until(lambda: taken, lambda: talk.publish(String(data="first")))
    for number in range(8):
        talk.publish(String(data=str(number)))
    world.until(lambda: limit.flooded >= 6)
    assert len(taken) < 8


def test_endpoints_that_do_not_match_are_named_once_while_they_are_there(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.active()
    publisher = world.peer.create_publisher(String, "/in", ANY_OFFER)
    world.peer.create_subscription(String, "/out", lambda message: None, LATCHED)
    said = ""

    def reported() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return said.count("'/peer'") >= 2

    world.until(reported)
    assert said.count("/in: messages from '/peer' are not received") == 1
    assert said.count("/out: messages do not reach '/peer'") == 1
    world.peer.destroy_publisher(publisher)
    end = time.monotonic() + 2.5
    world.until(lambda: time.monotonic() > end)
    assert "'/peer'" not in capfd.readouterr().err


_DESTROYED_WITH_EVENTS = """
import time
import rclpy
from std_msgs.msg import String
from pallas_ros.ros.node import PallasNode
from pallas_ros.ros.qos import ANY_OFFER, LATCHED
from pallas_ros.ros.run import make_executor

class Node(PallasNode):
    def configure(self):
        self.subscribe(String, "/in", print)
        self.advertise(String, "/out")

rclpy.init()
node = Node("operator")
executor = make_executor()
executor.add_node(node)
node.bring("configure")
for _ in range(20):
    executor.spin_once(timeout_sec=0.02)
executor.wake()  # this update of the entities comes before the events in the queue
context = rclpy.Context()
rclpy.init(context=context)
peer = rclpy.create_node("peer", context=context)
peer.create_publisher(String, "/in", ANY_OFFER)
peer.create_subscription(String, "/out", print, LATCHED)
while not node.count_publishers("/in") or not node.count_subscribers("/out"):
    time.sleep(0.02)
time.sleep(0.5)
node.trigger_cleanup()
for _ in range(20):
    executor.spin_once(timeout_sec=0.02)
print("survived", flush=True)
"""


def test_topics_are_destroyed_while_endpoints_that_do_not_match_appear(ros_domain: int) -> None:
    """rclpy's executor releases a pending QoS event without holding the GIL."""
    command = [sys.executable, "-c", _DESTROYED_WITH_EVENTS]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "survived" in ended.stdout, ended.stderr


_CLEANED_UP_WITH_A_GOAL = """
import time
import rclpy
from pallas.action import Calibrate
from rclpy.action import ActionClient
from pallas_ros.ros.node import PallasNode
from pallas_ros.ros.run import make_executor

class Node(PallasNode):
    built = 0

    def configure(self):
        self.built += 1
        self.serve_action(Calibrate, "/act", self._execute)

    async def _execute(self, goal):
        goal.succeed()
        return Calibrate.Result(success=True, message=f"built {self.built} times")

rclpy.init()
node = Node("operator")
executor = make_executor()
executor.add_node(node)
context = rclpy.Context()
rclpy.init(context=context)
peer = rclpy.create_node("peer", context=context)
client = ActionClient(peer, Calibrate, "/act")

def asked():
    while not client.server_is_ready():
        executor.spin_once(timeout_sec=0.02)
    return client.send_goal_async(Calibrate.Goal())

def answer(future):
    while not future.done():
        executor.spin_once(timeout_sec=0.02)
        rclpy.spin_once(peer, executor=peers, timeout_sec=0.02)
    return future.result()

peers = rclpy.executors.SingleThreadedExecutor(context=context)
node.bring("configure")
node.bring("activate")
for _ in range(20):
    executor.spin_once(timeout_sec=0.02)
executor.wake()  # this update of the entities comes before the goal in the queue
waiting = asked()
time.sleep(0.5)
node.trigger_deactivate()
node.trigger_cleanup()
print("while unconfigured:", answer(waiting).accepted, flush=True)
node.bring("configure")
node.bring("activate")
print(answer(answer(asked()).get_result_async()).result.message, flush=True)
"""


def test_a_node_is_cleaned_up_while_a_goal_waits(ros_domain: int) -> None:
    """Destroying the server then ends the process (ros2/rclpy issue 1644)."""
    command = [sys.executable, "-c", _CLEANED_UP_WITH_A_GOAL]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = [line for line in ended.stdout.splitlines() if not line.startswith("[")]
    assert said == ["while unconfigured: False", "built 2 times"], ended.stderr
