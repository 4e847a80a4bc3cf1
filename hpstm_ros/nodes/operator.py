"""Replaces the operator in demonstrations: engages the arm once bodies arrive, holds the dead-man
switch, and engages again without a switch that another publisher left behind.

The graph starts it only for a simulated arm: a human must hold the switch of a real arm.
"""

from typing import Any

from pallas.msg import BodyPose, SupervisorStatus
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from pallas_ros.body.names import TOPIC_DEAD_MAN, TOPIC_HPSTM_BODY, TOPIC_SUPERVISOR
from pallas_ros.ros.intake import Intake, RateLimit
from pallas_ros.ros.node import Health, PallasNode

_MOST_HZ = 1000.0
"""Messages of one publisher above this rate are discarded."""
ASK_AGAIN_NS = 500_000_000
HELD_BACK_NS = 2_000_000_000
"""If another dead-man switch keeps the arm from moving for this long, it is engaged again."""
STREAMS_NS = 200_000_000
"""Longest gap between bodies of a continuous stream."""


class OperatorNode(PallasNode):
    """Engages the arm and holds the dead-man switch."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/operator.yaml`."""
        super().__init__("operator", **kwargs)

    def configure(self) -> None:
        """Subscribe to bodies and the supervisor's status, and create the service clients."""
        self._since = 0
        self._last_body = 0
        self._requested_at = 0
        self._engaged = False
        self._held_back_since = self.now()
        self._answer = ""
        self._dead_man = self.advertise(Bool, TOPIC_DEAD_MAN)
        self._engage = self.create_client(Trigger, "/retarget/engage")
        self._disengage = self.create_client(Trigger, "/retarget/disengage")
        bodies = Intake(RateLimit(_MOST_HZ))
        self.subscribe(BodyPose, TOPIC_HPSTM_BODY, self._on_body, raw=True, intake=bodies)
        status = Intake(RateLimit(_MOST_HZ))
        self.subscribe(SupervisorStatus, TOPIC_SUPERVISOR, self._on_status, intake=status)
        self.every(1 / self.settings["rate_hz"], self._press)

    def deactivate(self) -> None:
        """Release the dead-man switch: one that falls silent while held has failed."""
        self._dead_man.publish(Bool(data=False))

    def cleanup(self) -> None:
        """Destroy the service clients."""
        for client in ("_engage", "_disengage"):
            if getattr(self, client, None) is not None:
                self.destroy_client(getattr(self, client))

    def health(self) -> Health:
        """Report whether the arm is engaged."""
        return Health(0, "engaged" if self._engaged else self._answer or "waiting for bodies")

    def _on_body(self, _: bytes) -> None:
        now = self.now()
        if not 0 <= now - self._last_body <= STREAMS_NS:  # a gap, or the clock was set
            self._since = now
        self._last_body = now

    def _on_status(self, message: SupervisorStatus) -> None:
        self._engaged = message.engaged
        now = self.now()
        if not message.engaged or message.dead_man:
            self._held_back_since = now
        elif now - self._held_back_since > HELD_BACK_NS and self._disengage.service_is_ready():
            self._held_back_since = now
            self._disengage.call_async(Trigger.Request())

    def _press(self) -> None:
        self._dead_man.publish(Bool(data=True))
        now = self.now()
        streams = (
            0 <= now - self._last_body < STREAMS_NS
            and now - self._since > self.settings["engage_after_s"] * 1e9
        )
        if (
            streams
            and not self._engaged
            and not 0 <= now - self._requested_at <= ASK_AGAIN_NS
            and self._engage.service_is_ready()
        ):
            self._requested_at = now
            self._engage.call_async(Trigger.Request()).add_done_callback(self._answered)

    def _answered(self, future: Any) -> None:
        self._answer = future.result().message if future.result() is not None else "no answer"
        self.get_logger().info(f"the arm: {self._answer}")
