"""Base class of every node: its lifecycle, its diagnostics, and changes of its parameters."""

import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecyclePublisher, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter as RosParameter
from rclpy.subscription import Subscription

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import TOPIC_DIAGNOSTICS
from pallas_ros.ros.clock_watch import ClockWatch
from pallas_ros.ros.entities import EntityNode
from pallas_ros.ros.health import PUBLISHERS, RECEIVED, REFUSAL, STATE, SUBSCRIBERS, Health
from pallas_ros.ros.qos import STREAM
from pallas_ros.runtime.realtime import ordinary_priority

__all__ = ["ACTIVE", "CLOSING", "Health", "Interrupted", "PallasNode"]

Core = TypeVar("Core")
SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE

DIAGNOSTICS_PERIOD_S = 1.0
POLL_PERIOD_S = 0.2

ACTIVE = "active"
"""Logged when a node is active; `pallas up` waits for it."""

CLOSING = "closing"
"""Log prefix of a node that finishes writing a file before it stops; `pallas up` waits for it."""


class Interrupted(BaseException):
    """Raised by a signal handler in `configure`, which may take long; the transition fails."""


class PallasNode(EntityNode):
    """ROS adapter around one plain object.

    A subclass overrides `configure` (build the object from ``self.settings``; create publishers,
    subscriptions, services and timers with the methods of `EntityNode`) and, if needed, `activate`,
    `deactivate`, `cleanup`, `reconfigure` and `health`. All of them may raise `PallasError`: the
    message is logged and the transition (or the parameter change) is rejected.

    Subscriptions and timers run while the node is active. Everything created in `configure` is
    destroyed automatically on cleanup.

    Attributes:
        refusal: why the last transition failed, or None.
        fatal: why the process has to end, or None; set by a subclass, handled by `run`.
        building: whether `configure` is running.
    """

    ANNOUNCEMENT = ACTIVE
    """Logged when the node is active."""

    POLLS = False
    """Whether the node only polls what its middleware has received: with a real-time priority, its
    own thread stays at ordinary priority.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        """Declare the parameters of `config/parameters/<name>.yaml`.

        ``kwargs`` are passed to `rclpy.node.Node`. The node may be remapped (``__node:=``); its
        description is always found by ``name``.
        """
        super().__init__(name, **kwargs)
        self.refusal: str | None = None
        self.fatal: str | None = None
        self.building = False
        self._configured = False
        self._touched = False  # configure has started, so cleanup may be needed
        self.unmatched: dict[str, str] = {}
        self.add_on_set_parameters_callback(self._on_set)
        self._diagnostics = self.create_publisher(DiagnosticArray, TOPIC_DIAGNOSTICS, STREAM)
        self._reported_links: dict[str, int] = {}
        self._clock_watch = ClockWatch()
        self._periodic(DIAGNOSTICS_PERIOD_S, self._each_second, steady=True)
        self._periodic(POLL_PERIOD_S, self._poll, steady=True)

    @property
    def configured(self) -> bool:
        """Whether `configure` has succeeded and `cleanup` has not run since."""
        return self._configured

    def built(self, core: Core | None) -> Core:
        """Return the plain object that `configure` has built.

        Raises:
            PallasError: the node is not configured, so that there is none.
        """
        if core is None:
            raise PallasError(f"{self.get_name()} is not configured")
        return core

    # Overridden by subclasses

    def configure(self) -> None:
        """Build the plain object and create the topics."""

    def activate(self) -> None:
        """Prepare to run."""

    def deactivate(self) -> None:
        """Prepare to stop; leave the controlled system in a safe state."""

    def cleanup(self) -> None:
        """Release files, ports and threads; topics and timers are already destroyed."""

    def check(self) -> None:
        """Validate ``self.settings``; raise `PallasError` to reject them without any change."""

    def reconfigure(self, changed: set[str]) -> None:
        """Apply parameters changed while configured; the default rebuilds the node.

        Raise `PallasError` to reject the change.
        """
        self._rebuild()

    def health(self) -> Health:
        """Health for `/diagnostics`."""
        return Health()

    def links(self) -> dict[str, int]:
        """Return the number of matched endpoints per topic; keys as in `pallas_ros.ros.health`."""
        found: dict[str, int] = {}
        for entity in self._entities:
            if isinstance(entity, LifecyclePublisher):
                found[SUBSCRIBERS + entity.topic_name] = entity.get_subscription_count()
            elif isinstance(entity, Subscription):
                found[PUBLISHERS + entity.topic_name] = entity.get_publisher_count()
        return found

    # Transitions

    def bring(self, trigger: str) -> None:
        """Trigger the transition "configure" or "activate".

        Raises:
            PallasError: the transition failed, with the reason.
        """
        result = self.trigger_configure() if trigger == "configure" else self.trigger_activate()
        if result != SUCCESS:
            raise PallasError(self.refusal or f"{self.get_name()} could not {trigger}")

    def stop(self) -> None:
        """Deactivate, clean up and shut down from any state; never raises."""
        try:
            self.active = False
            self.trigger_shutdown()
        except Exception as error:
            self.get_logger().error(f"while stopping: {error}")
        self._tear_down()  # after an interrupted transition
        self._destroy_actions()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: validate the parameters, then `configure`."""
        if not self._attempt("configure", self._build):
            self._tear_down()
            self._publish_health()
            return FAILURE
        self.refusal = None
        self._publish_health()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: `activate`."""
        result = super().on_activate(state)
        if result != SUCCESS or not self._attempt("activate", self.activate):
            super().on_deactivate(state)
            self._publish_health()
            return FAILURE
        self.active = True
        self.refusal = None
        self.get_logger().info(self.ANNOUNCEMENT)
        self._publish_health()
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: `deactivate`, while the publishers still work."""
        self.active = False
        self._attempt("deactivate", self.deactivate)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: `cleanup`."""
        self._tear_down()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: `deactivate` if active, then `cleanup`."""
        if state.label == "active":
            self.on_deactivate(state)
        self._tear_down()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: clean up after a failed transition and return to unconfigured."""
        self.active = False
        self._tear_down()
        return SUCCESS

    def _build(self) -> None:
        if self.refused_at_start:
            raise PallasError("; ".join(self.refused_at_start))
        self._touched = self.building = True
        try:
            with ordinary_priority():
                self.configure()
        finally:
            self.building = False
        self._configured = True

    def _tear_down(self) -> None:
        """Destroy what `configure` created, then `cleanup`."""
        if not self._touched:
            return
        self._configured = self._touched = False
        self._destroy_entities()
        self._attempt("cleanup", self.cleanup)

    def _rebuild(self, *, active: bool | None = None) -> None:
        """Rebuild the node; ``active`` is the state afterwards (None: unchanged)."""
        active = self.active if active is None else active
        if self.active:
            self.active = False
            self._attempt("deactivate", self.deactivate)
        self._tear_down()
        self._build()
        if active:
            self.active = True
            self._activate_publishers()
            self.activate()

    def _attempt(self, name: str, step: Callable[[], None]) -> bool:
        try:
            step()
        except PallasError as error:
            self.refusal = str(error)
            self.get_logger().error(f"{name} refused: {error}")
            return False
        except Interrupted:
            self.refusal = f"{self.get_name()} was stopped while it was being configured"
            return False
        except Exception as error:
            self.refusal = f"{self.get_name()} failed to {name}: {type(error).__name__}: {error}"
            self.get_logger().error(f"{self.refusal}\n{traceback.format_exc()}")
            return False
        return True

    # Diagnostics

    def _each_second(self) -> None:
        self._check_endpoints()
        self._publish_health()

    def _check_endpoints(self) -> None:
        """Find the topics with publishers or subscriptions that do not match, and log new ones."""
        found = self.mismatches((self._diagnostics, *self._entities))
        for topic, sentence in found.items():
            if self.unmatched.get(topic) != sentence:
                self.get_logger().warning(sentence)
        self.unmatched = found

    def _publish_health(self) -> None:
        try:
            health = self.health() if self._configured else Health()
        except Exception as error:
            health = Health(2, f"health: {error}")
        state = "inactive" if self._configured else "unconfigured"
        if self.active:
            state = "active"
        received = {
            RECEIVED + topic: tally for topic, tally in self._tallies.items() if tally.stamps
        }
        self._reported_links = self.links()
        self._check_clock()
        values = {
            STATE: state,
            **self._counts,
            **received,
            **self._reported_links,
            **self._clock_watch.figures(),
            **health.values,
        }
        level = health.level
        summary = health.summary or state
        if any(count for name, count in self._counts.items() if name.startswith("errors of ")):
            values["last error"] = self._last_error
            level = max(level, 1)
        if self.refusal and not self.active:
            level = 2
            summary = self.refusal
            values[REFUSAL] = self.refusal
        name = self.get_fully_qualified_name().lstrip("/")
        self._diagnostics.publish(Health(level, summary, values).message(name, self.now()))

    def _check_clock(self) -> None:
        if not self.get_parameter("use_sim_time").value:
            sentence = self._clock_watch.look(self.now(), time.monotonic_ns())
            if sentence:
                self.get_logger().warning(sentence)

    def _poll(self) -> None:
        self.poll()
        self._publish_links()

    def _publish_links(self) -> None:
        """Publish immediately when an endpoint appears or disappears, and often before activation.

        The lifecycle manager waits for it.
        """
        if not self.active or self.links() != self._reported_links:
            self._publish_health()

    # Parameters

    def _on_set(self, parameters: list[RosParameter[Any]]) -> SetParametersResult:
        before = dict(self.settings)
        for given in parameters:
            if given.name in self._described:
                self.settings[given.name] = self._described[given.name].check(given.value)
        changed = {name for name in self.settings if self.settings[name] != before[name]}
        if not changed or not self._configured:
            return SetParametersResult(successful=True)
        active = self.active
        try:
            self.check()
        except PallasError as error:
            self.settings = before
            return SetParametersResult(successful=False, reason=str(error))
        try:
            self.reconfigure(changed)
        except Interrupted:
            return SetParametersResult(successful=False, reason="the node is being stopped")
        except Exception as error:
            sentence = self.report("parameters", error)
            self.settings = before
            self._attempt("configure", lambda: self._rebuild(active=active))
            return SetParametersResult(successful=False, reason=sentence)
        return SetParametersResult(successful=True)
