"""Simulates the four worn sensors on pseudo-terminals; publishes the body it plays, where it knows it, on `/simulator/body`."""

import math
from pathlib import Path
from typing import Any

from pallas.msg import BodyPose

from pallas_ros.body.names import MODEL_RATE_HZ, SITES, TOPIC_IMU, TOPIC_TRUTH_BODY
from pallas_ros.imu import playback
from pallas_ros.imu.protocols import protocol
from pallas_ros.imu.simulator import SensorSimulator
from pallas_ros.imu.virtual import SensorNoise
from pallas_ros.ros.conversions import body_to_msg
from pallas_ros.ros.node import Health, PallasNode

_LOOK_S = 0.1
_WAIT_NS = 20_000_000_000


class ImuSimulatorNode(PallasNode):
    """Adapter around `pallas_ros.imu.simulator.SensorSimulator`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/imu_simulator.yaml`."""
        self._simulator: SensorSimulator | None = None
        super().__init__("imu_simulator", **kwargs)

    def configure(self) -> None:
        """Make the ports."""
        s = self.settings
        faults = SensorNoise() if s["noise"] else SensorNoise.none()
        faults = faults.with_(heading_offset=math.radians(s["heading_offset_deg"]), mounting_error=math.radians(s["mounting_error_deg"]))
        self._simulator = SensorSimulator(
            source=playback.source(s["motion"], s["duration_s"], s["height_m"]),
            protocol=protocol(s["protocol"]),
            noise=faults,
            seed=s["seed"],
            rate_hz=s["rate_hz"],
            links={site: Path(s["port_folder"]) / site for site in SITES},
            burst_s=s["burst_s"],
            clock=self.now,
        )
        self._truth = playback.Truth(self._simulator)
        self._bodies = self.advertise(BodyPose, TOPIC_TRUTH_BODY)
        self._begun, self._waiting_since = False, self.now()
        self.every(1 / MODEL_RATE_HZ, self._publish_truth)
        self.every(_LOOK_S, self._begin_when_heard)

    def activate(self) -> None:
        """Begin to play, or wait for who is to see the beginning."""
        assert self._simulator is not None
        self._begun = False
        self._waiting_since = self.now()
        if not self.settings["wait_for"]:
            self._begin()

    def deactivate(self) -> None:
        """End; the ports go, as if all cables were pulled."""
        if self._simulator is not None:
            self._simulator.stop()

    def cleanup(self) -> None:
        """Take the ports away."""
        self.deactivate()
        self._simulator = None

    def health(self) -> Health:
        """Where in the motion it is."""
        if self._simulator is None or not self.active:
            return Health()
        if not self._begun:
            return Health(0, f"waits until {self.settings['wait_for']} listens")
        at = self._simulator.motion_time(self.now())
        return Health(0, f"plays {self.settings['motion']}", {"motion time s": f"{at:.1f}", **self._simulator.ports})

    def _begin(self) -> None:
        assert self._simulator is not None
        self._begun = True
        self._simulator.start()

    def _begin_when_heard(self) -> None:
        """Begin once the node waited for listens to all sites and somebody speaks there, or has not come for too long."""
        if self._begun:
            return
        topics = [TOPIC_IMU.format(site=site) for site in SITES]
        heard = all(
            self.count_publishers(topic)
            and any(who.node_name == self.settings["wait_for"] for who in self.get_subscriptions_info_by_topic(topic))
            for topic in topics
        )
        if heard or self.now() - self._waiting_since > _WAIT_NS:
            self._begin()

    def _publish_truth(self) -> None:
        for frame in self._truth.until(self.now()):
            self._bodies.publish(body_to_msg(frame))
