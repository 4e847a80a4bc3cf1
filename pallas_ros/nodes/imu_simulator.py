"""Simulate the four worn sensors on pseudo-terminals.

The body of the simulated motion, if known, is published on `/simulator/body`.
"""

import math
from pathlib import Path
from typing import Any

from pallas.msg import BodyPose
from std_msgs.msg import String

from pallas_ros.body.names import MODEL_RATE_HZ, SITES, TOPIC_CALIBRATION, TOPIC_TRUTH_BODY
from pallas_ros.body.sites import worn_sites
from pallas_ros.imu import playback
from pallas_ros.imu.protocols import protocol
from pallas_ros.imu.simulator import SensorSimulator
from pallas_ros.imu.virtual import SensorNoise
from pallas_ros.messages.wire import body_to_bytes
from pallas_ros.ros.node import Health, PallasNode
from pallas_ros.ros.qos import LATCHED


class ImuSimulatorNode(PallasNode):
    """Adapter around `pallas_ros.imu.simulator.SensorSimulator`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/imu_simulator.yaml`."""
        self._built: SensorSimulator | None = None
        super().__init__("imu_simulator", **kwargs)

    @property
    def _simulator(self) -> SensorSimulator:
        """The simulator built by `configure`."""
        return self.built(self._built)

    def configure(self) -> None:
        """Create the ports."""
        s = self.settings
        faults = SensorNoise() if s["noise"] else SensorNoise.none()
        faults = faults.with_(
            heading_offset=math.radians(s["heading_offset_deg"]),
            mounting_error=math.radians(s["mounting_error_deg"]),
        )
        sites = worn_sites((*SITES, *s["extra_sites"]))
        self._built = SensorSimulator(
            source=playback.source(s["motion"], s["duration_s"], s["height_m"], s["extra_sites"]),
            protocol=protocol(s["protocol"]),
            noise=faults,
            seed=s["seed"],
            rate_hz=s["rate_hz"],
            links={site: Path(s["port_folder"]) / site for site in sites},
            burst_s=s["burst_s"],
            clock=self.now,
            hold=s["hold"],
            sites=sites,
        )
        self._truth = playback.Truth(self._simulator)
        self._bodies = self.advertise(BodyPose, TOPIC_TRUTH_BODY)
        self.every(1 / MODEL_RATE_HZ, self._publish_truth)
        if s["hold"]:
            self.subscribe(String, TOPIC_CALIBRATION, self._on_calibration, LATCHED)

    def activate(self) -> None:
        """Start playing."""
        self._simulator.start()

    def deactivate(self) -> None:
        """Stop; the ports disappear, as if all cables were unplugged."""
        if self._built is not None:
            self._simulator.stop()

    def cleanup(self) -> None:
        """Remove the ports."""
        self.deactivate()
        self._built = None

    def health(self) -> Health:
        """Position in the motion."""
        if self._built is None or not self.active:
            return Health()
        at = self._simulator.motion_time(self.now())
        return Health(
            0,
            f"plays {self.settings['motion']}",
            {"motion time s": f"{at:.1f}", **self._simulator.ports},
        )

    def _on_calibration(self, _: String) -> None:
        self._simulator.release()

    def _publish_truth(self) -> None:
        if not self._bodies.get_subscription_count():
            self._truth.skip(self.now())
            return
        for frame in self._truth.until(self.now()):
            self._bodies.publish(body_to_bytes(frame))
