"""Node with publishers, subscriptions, timers, services and actions that last until cleanup.

Exceptions in their callbacks are counted and logged; they never end the node.
"""

import inspect
import itertools
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecyclePublisher, LifecycleState
from rclpy.qos import QoSProfile
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.task import Future
from rclpy.timer import Timer

from pallas_ros.body.errors import PallasError
from pallas_ros.messages.decode import from_stamp, header_stamp
from pallas_ros.ros.actions import Action, Execute
from pallas_ros.ros.described import DescribedNode
from pallas_ros.ros.health import Tally
from pallas_ros.ros.intake import Intake
from pallas_ros.ros.matching import knows_publishers
from pallas_ros.ros.periodic import Periodic
from pallas_ros.ros.qos import STREAM

Message = TypeVar("Message")
REPEAT_S = 5.0
"""Minimum interval between two logs of the same warning."""
TAKING_S = 0.05
"""Time after which a node with overdue timers leaves the rest of a queue to a later event, so that
other events are handled. Queued switches, such as an emergency stop, take much less.
"""


class EntityNode(DescribedNode):
    """Create a node's communication endpoints, guard their callbacks, and destroy them together.

    Subscriptions and timers call back while the node is `active`; services do so always.

    Attributes:
        active: whether the node is active; set by its lifecycle (`PallasNode`).
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        """Declare the parameters; ``kwargs`` are passed to `rclpy.node.Node`."""
        super().__init__(name, **kwargs)
        self.active = False
        self._entities: list[Any] = []
        self._actions: dict[str, Action] = {}
        self._counts: dict[str, int] = {}
        self._tallies: dict[str, Tally] = {}
        self._topics: dict[str, tuple[Subscription[Any], Callable[[Any, Any], str | None]]] = {}
        self._takes: dict[Subscription[Any], Callable[..., None]] = {}
        self._polling = False
        self._periodics: dict[Timer, Periodic] = {}
        self._last_said: dict[str, float] = {}
        self._last_error = ""

    def now(self) -> int:
        """Return the time of the node's clock (ns)."""
        return int(self.get_clock().now().nanoseconds)

    def advertise(
        self, kind: type[Message], topic: str, qos: QoSProfile = STREAM
    ) -> LifecyclePublisher[Any]:
        """Create a publisher that publishes while the node is active."""
        publisher = self.create_lifecycle_publisher(kind, topic, qos)
        if self.active:
            publisher.on_activate(LifecycleState("active", 3))
        self._entities.append(publisher)
        return publisher

    def subscribe(
        self,
        kind: type[Message],
        topic: str,
        callback: Callable[..., None],
        qos: QoSProfile = STREAM,
        *,
        raw: bool = False,
        newest: bool = False,
        subject: Callable[[Any], str] = lambda message: "",
        intake: Intake | None = None,
        sourced: bool = False,
        always: bool = False,
    ) -> Subscription[Any]:
        """Call ``callback`` with each message while the node is active.

        Exceptions in the callback are counted and logged, not propagated.

        Args:
            kind: message type.
            topic: topic name.
            callback: takes a message.
            qos: QoS profile.
            raw: pass the serialised bytes (`pallas_ros.messages.wire`) of messages that begin with
                a header.
            newest: of the messages queued while the node was busy, pass on only the newest of each
                publisher and subject and count the rest as skipped, so that a slow node drops
                frames instead of falling behind.
            subject: what a message is about, such as the id of a body.
            intake: rejects messages by publisher before they are processed.
            sourced: also pass the publisher's gid to the callback, in hexadecimal.
            always: call the callback in any state once configured, not only while active.
        """
        self._tallies[topic] = Tally()
        self._counts.setdefault(topic, 0)
        guarded = self._guarded(topic, callback, always=always)

        def call(message: Any, source: str) -> None:
            guarded(*(message, source) if sourced else (message,))

        def admitted(message: Any, info: Any) -> str | None:
            """Return the source of an accepted message."""
            self._count(topic, message)
            source = _source(info)
            if intake is None or intake.admits(source, time.monotonic_ns()):
                return source
            return None

        def take(*arrived: Any) -> None:
            if not (self.active or always):
                return
            message, info = _message_and_info(arrived)
            waiting: dict[tuple[str, str], Any] = {}
            called = False
            end = time.monotonic() + TAKING_S
            for later, its_info in itertools.chain([(message, info)], self._pending(subscription)):
                source = admitted(later, its_info)
                if source is None:
                    continue
                if not newest:
                    call(later, source)
                    called = True
                    if self._catch_up() and time.monotonic() > end:
                        return  # the next event or `poll` takes the rest
                    continue
                about = source, subject(later)
                if about in waiting:
                    self._counts[f"skipped {topic}"] = self._counts.get(f"skipped {topic}", 0) + 1
                waiting[about] = later
            for (source, _), later in waiting.items():
                call(later, source)
            if not called:
                self._catch_up()

        subscription: Subscription[Any] = self.create_subscription(kind, topic, take, qos, raw=raw)
        if hasattr(Subscription, "CallbackType"):  # rclpy of Humble passes no message info
            subscription._callback_type = Subscription.CallbackType.WithMessageInfo
        self._topics[topic] = subscription, admitted
        self._takes[subscription] = take
        self._entities.append(subscription)
        return subscription

    def pending(self, topic: str) -> Iterator[Any]:
        """Take the remaining messages of a topic; called automatically after each message.

        The EventsExecutor of rclpy 9.1 takes one message per event and loses events in a burst.
        The messages left in the queue would delay all later ones permanently.
        """
        subscription, admitted = self._topics[topic]
        for message, info in self._pending(subscription):
            if admitted(message, info) is not None:
                yield message

    def _pending(self, subscription: Subscription[Any]) -> Iterator[tuple[Any, Any]]:
        for _ in range(subscription.qos_profile.depth):
            with subscription.handle:
                taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if taken is None:
                return
            yield taken

    def poll(self) -> None:
        """Take the messages whose events were lost; `PallasNode` does so several times a second.

        rmw_fastrtps counts the unread messages of a new subscription before it enables their
        events, so that a message in between has no event. It would wait for the next message, and
        after a latched one, such as an emergency stop, there may be none.
        """
        if self._polling:
            return
        self._polling = True
        try:
            for subscription, take in tuple(self._takes.items()):
                arrived = next(self._pending(subscription), None)
                if arrived is not None:
                    take(*arrived)
        finally:
            self._polling = False

    def every(
        self, period_s: float, callback: Callable[[], None], *, steady: bool = False
    ) -> Timer:
        """Call ``callback`` every ``period_s`` seconds while the node is active.

        The timer follows /clock if ``use_sim_time`` is set, else the monotonic clock: on the system
        clock, timers would stop for an hour if it was set back by one. ``steady`` forces the
        monotonic clock.
        """
        name = f"timer {getattr(callback, '__name__', '')}".strip()
        timer = self._periodic(period_s, self._guarded(name, callback), steady=steady)
        self._entities.append(timer)
        return timer

    def _periodic(
        self, period_s: float, callback: Callable[[], None], *, steady: bool = False
    ) -> Timer:
        steady = steady or not self.get_parameter("use_sim_time").value
        periodic = Periodic(period_s, callback, time.monotonic_ns if steady else self.now)
        clock = Clock(clock_type=ClockType.STEADY_TIME) if steady else None
        timer = self.create_timer(period_s, periodic.on_event, clock=clock)
        self._periodics[timer] = periodic
        return timer

    def _catch_up(self) -> bool:
        """Run the overdue timers; returns whether there were any."""
        late = [periodic.if_overdue() for periodic in tuple(self._periodics.values())]
        return any(late)

    def serve(
        self, kind: type[Any], name: str, callback: Callable[[Any, Any], Any]
    ) -> Service[Any, Any]:
        """Offer a service, available in any state once configured.

        A `PallasError` becomes ``success = False`` with its message. ``callback`` may be a
        coroutine function that awaits a `future` completed by another callback.
        """
        what = f"service {name}"

        def refused(error: Exception, response: Any) -> Any:
            sentence = self.report(what, error)
            if hasattr(response, "success"):
                response.success = False
                response.message = sentence
            return response

        def answer(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except Exception as error:
                return refused(error, response)

        async def answer_later(request: Any, response: Any) -> Any:
            """Await `callback`; return an error as the response."""
            try:
                return await callback(request, response)
            except Exception as error:
                return refused(error, response)

        later = inspect.iscoroutinefunction(callback)
        # The default group would block all other callbacks meanwhile.
        group = ReentrantCallbackGroup() if later else None
        service: Service[Any, Any] = self.create_service(
            kind, name, answer_later if later else answer, callback_group=group
        )
        self._entities.append(service)
        return service

    def serve_action(
        self,
        kind: type[Any],
        name: str,
        execute: Execute,
        cancel: Callable[[Any], None] = lambda goal: None,
    ) -> None:
        """Offer an action: goals are accepted while the node is active, and can be cancelled.

        The server stays until `stop`, also while the node is not configured: an EventsExecutor
        crashes if a server is destroyed while a request waits in its queue (ros2/rclpy issue 1644).

        Args:
            kind: action type, whose result has ``success`` and ``message``.
            name: action name.
            execute: coroutine function of the goal handle, which terminates the goal (``succeed``,
                ``canceled``) and returns the result; it may await `future`s. A `PallasError` aborts
                the goal and becomes the result's ``message``.
            cancel: called with the goal handle when a client requests cancellation.
        """
        if name in self._actions:
            self._actions[name].replace(execute, cancel)
        else:
            self._actions[name] = Action(self, kind, name, execute, cancel)

    def future(self) -> Future:
        """Create a future that a coroutine service or action can await."""
        return Future(executor=self.executor)

    def say(self, sentence: str, *, key: str | None = None) -> None:
        """Log a warning; throttle repetitions of the same one (or of the same ``key``)."""
        key = key or sentence
        now = time.monotonic()
        if now - self._last_said.get(key, -REPEAT_S) >= REPEAT_S:
            self._last_said[key] = now
            self.get_logger().warning(sentence)

    def _guarded(
        self, name: str, callback: Callable[..., None], *, always: bool = False
    ) -> Callable[..., None]:
        def call(*message: Any) -> None:
            if not (self.active or always):
                return
            try:
                callback(*message)
            except Exception as error:
                self.report(name, error)

        # rclpy inspects the signature: a timer callback takes no argument
        return (lambda: call()) if name.startswith("timer") else call

    def _count(self, topic: str, message: Any) -> None:
        self._counts[topic] += 1
        if isinstance(message, bytes):
            try:
                stamp = header_stamp(message)
            except ValueError:  # the decoder reports it
                return
            self._tallies[topic].add(stamp)
        elif (header := getattr(message, "header", None)) is not None:
            self._tallies[topic].add(from_stamp(header.stamp))

    def report(self, name: str, error: Exception) -> str:
        """Count an error of a callback, log it (throttled), and return its message."""
        key = f"errors of {name}"
        self._counts[key] = self._counts.get(key, 0) + 1
        sentence = (
            str(error) if isinstance(error, PallasError) else f"{type(error).__name__}: {error}"
        )
        self._last_error = f"{name}: {sentence}"
        self.say(f"{name}: {sentence} ({self._counts[key]} so far)", key=key)
        if not isinstance(error, PallasError):
            self.get_logger().debug("".join(traceback.format_exception(error)))
        return sentence

    def _activate_publishers(self) -> None:
        for entity in self._entities:
            if isinstance(entity, LifecyclePublisher):
                entity.on_activate(LifecycleState("active", 3))

    def _destroy_entities(self) -> None:
        entities = self._entities
        self._entities = []
        for entity in entities:
            if isinstance(entity, LifecyclePublisher):
                self.destroy_lifecycle_publisher(entity)
            elif isinstance(entity, Subscription):
                del self._takes[entity]
                self.destroy_subscription(entity)
            elif isinstance(entity, Timer):
                del self._periodics[entity]
                self.destroy_timer(entity)
            else:
                self.destroy_service(entity)

    def _destroy_actions(self) -> None:
        while self._actions:
            self._actions.popitem()[1].destroy()


def _message_and_info(arrived: tuple[Any, ...]) -> tuple[Any, Any]:
    """Split an executor's callback arguments into message and info.

    They are a message, both, or a tuple of both (EventsExecutor of rclpy 9.1).
    """
    if len(arrived) == 1:
        arrived = arrived[0] if isinstance(arrived[0], tuple) else (arrived[0], None)
    message, info = arrived
    return message, info


def _source(info: Any) -> str:
    """Return the publisher's gid in hexadecimal; empty if it is not known (`knows_publishers`)."""
    gid = (info or {}).get("publisher_gid")
    return bytes(gid["data"]).hex() if gid and knows_publishers() else ""
