"""Compute the forces in the operator's body from `/hpstm/body`."""

from typing import Any

from geometry_msgs.msg import WrenchStamped
from pallas.msg import BodyLoad, BodyPose
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from tf2_msgs.msg import TFMessage

from hpstm_ros.dynamics.anthropometry import SIDES
from hpstm_ros.dynamics.live import LiveDynamics, LiveForces, LiveSettings
from hpstm_ros.nodes.dynamics_messages import efforts_to_msg, load_to_msg, wrenches_to_msgs
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import (
    TOPIC_BODY_LOAD,
    TOPIC_CARRIED,
    TOPIC_GROUND_REACTION,
    TOPIC_JOINT_EFFORTS,
)
from pallas_ros.body.resources import resource
from pallas_ros.messages.wire import body_from_bytes
from pallas_ros.ros.body_intake import BODIES_HZ
from pallas_ros.ros.intake import Intake, RateLimit
from pallas_ros.ros.node import Health, PallasNode

_CARRIED_HZ = 100.0
"""Messages about carried loads of one publisher above this rate are discarded."""


class DynamicsNode(PallasNode):
    """Adapter around `hpstm_ros.dynamics.live.LiveDynamics`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/dynamics.yaml`."""
        self._dynamics: LiveDynamics | None = None
        self._newest: LiveForces | None = None
        super().__init__("dynamics", **kwargs)

    def configure(self) -> None:
        """Build the model, and create subscriptions and publishers."""
        s = self.settings
        self._dynamics = LiveDynamics(
            LiveSettings(
                mass=s["mass_kg"],
                height=s["height_m"],
                sex=s["sex"],
                delay=s["delay_frames"],
                contacts=tuple(s["contacts"]),
                carried=(s["load_left_kg"], s["load_right_kg"]),
                method=s["method"],
                model=resource(s["model"]),
            )
        )
        self._efforts = self.advertise(JointState, TOPIC_JOINT_EFFORTS)
        self._wrenches = [
            self.advertise(WrenchStamped, TOPIC_GROUND_REACTION.format(side=side)) for side in SIDES
        ]
        self._tf = self.advertise(TFMessage, "/tf")
        self._loads = self.advertise(BodyLoad, TOPIC_BODY_LOAD)
        self._intake = Intake(RateLimit(BODIES_HZ))
        self.subscribe(BodyPose, s["input_topic"], self._on_body, raw=True, intake=self._intake)
        carried = Intake(RateLimit(_CARRIED_HZ))
        self.subscribe(Float64MultiArray, TOPIC_CARRIED, self._on_carried, intake=carried)

    def reconfigure(self, changed: set[str]) -> None:
        """Apply changed loads and a changed method at run time."""
        loads = ("load_left_kg", "load_right_kg")
        if self._dynamics is None or not changed <= {*loads, "method"}:
            super().reconfigure(changed)
            return
        left, right = (  # a topic may have set the load in the other hand
            self.settings[name] if name in changed else load
            for name, load in zip(loads, self._dynamics.carried)
        )
        if "method" in changed:
            self._dynamics.use(self.settings["method"], (left, right))
        else:
            self._dynamics.carry(left, right)

    def cleanup(self) -> None:
        """Discard the person's state."""
        self._dynamics = None
        self._newest = None

    def health(self) -> Health:
        """Report the newest figures, or why there are none."""
        newest = self._newest
        if newest is None or not self.active:
            return Health()
        if newest.frame is None:
            return Health(1, newest.remark)
        figures = {load.name: f"{load.moment:.0f} Nm" for load in newest.loads}
        figures["residual"] = f"{newest.residual:.3f} of body weight"
        figures["bodies over the rate limit"] = str(self._intake.flooded)
        return Health(0, newest.frame.support, figures)

    def _on_body(self, data: bytes) -> None:
        forces = self.built(self._dynamics).push(body_from_bytes(data))
        if forces is None:
            return
        self._newest = forces
        self._loads.publish(load_to_msg(forces))
        if forces.frame is None:
            return
        self._efforts.publish(efforts_to_msg(forces))
        wrenches, transforms = wrenches_to_msgs(forces)
        for publisher, wrench in zip(self._wrenches, wrenches):
            publisher.publish(wrench)
        if transforms:
            self._tf.publish(TFMessage(transforms=transforms))

    def _on_carried(self, message: Float64MultiArray) -> None:
        if len(message.data) != 2:
            raise PallasError(
                f"{TOPIC_CARRIED} holds {len(message.data)} numbers: give the mass in the left and"
                " the right hand, in kg"
            )
        self.built(self._dynamics).carry(*message.data)
