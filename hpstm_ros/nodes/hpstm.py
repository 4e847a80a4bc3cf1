"""Smooths `/pallas/body` or `/pose/body` and publishes `/hpstm/body`."""

from functools import cached_property
from typing import Any

from pallas.msg import BodyPose

from hpstm_ros.smoothing.bodies import Bodies, method_for
from hpstm_ros.smoothing.smoother import SmootherSettings
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import MODEL_RATE_HZ, TOPIC_HPSTM_BODY
from pallas_ros.body.resources import expanded
from pallas_ros.messages.wire import body_from_bytes, body_to_bytes
from pallas_ros.ros.body_intake import BodyIntake, body_intake, rejected_remark
from pallas_ros.ros.node import Health, PallasNode


class HpstmNode(PallasNode):
    """Adapter around `hpstm_ros.smoothing.bodies.Bodies`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/hpstm.yaml`."""
        self._built: Bodies | None = None
        self._method = ""
        super().__init__("hpstm", **kwargs)

    @property
    def _bodies(self) -> Bodies:
        """The object built by `configure`."""
        return self.built(self._built)

    @cached_property
    def _intake(self) -> BodyIntake:
        """Kept for the life of the node."""
        return body_intake(self, self.settings["input_topic"], self.settings["input_publisher"])

    def configure(self) -> None:
        """Open the network, and create subscriptions and publishers."""
        s = self.settings
        self._method = method_for(s["method"], s["input_topic"])
        settings = SmootherSettings(
            method=self._method,
            lookahead=s["lookahead"],
            model=s["model"],
            backend=s["backend"],
            trust_rotations=s["trust_rotations"],
            least_confidence=s["least_confidence"],
            bridge_s=s["bridge_s"],
        )
        self._built = Bodies(settings, expanded(s["bones_file"]) if s["bones_file"] else None)
        self._publisher = self.advertise(BodyPose, TOPIC_HPSTM_BODY)
        self.subscribe(BodyPose, s["input_topic"], self._on_body, raw=True, intake=self._intake)
        self.every(1 / MODEL_RATE_HZ, self._on_time)

    def cleanup(self) -> None:
        """Release the network."""
        self._built = None

    def health(self) -> Health:
        """Report the failures of each body."""
        if self._built is None or not self.active:
            return Health()
        rejected = rejected_remark(self._intake, self.settings["input_topic"])
        remark = rejected or self._bodies.recent_remark(self.now())
        summary = f"method {self._method}" + (f"; {remark}" if remark else "")
        return Health(1 if remark else 0, summary, dict(self._bodies.figures()))

    def _on_body(self, data: bytes) -> None:
        body = self._intake.renamed(body_from_bytes(data))
        self._publish(self._bodies.push(body, self.now()))

    def _on_time(self) -> None:
        self._publish(self._bodies.tick(self.now()))

    def _publish(self, bodies: list[BodyFrame]) -> None:
        for body in bodies:
            self._publisher.publish(body_to_bytes(body))
