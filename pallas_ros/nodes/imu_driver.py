"""Reads the worn sensors' serial ports and publishes `/imu/<site>`."""

from pathlib import Path
from typing import Any

from sensor_msgs.msg import Imu
from std_msgs.msg import String

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES, TOPIC_CALIBRATION, TOPIC_IMU
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.driver import ImuDriver
from pallas_ros.imu.sample import ImuSample
from pallas_ros.ros.conversions import imu_to_msg
from pallas_ros.ros.node import Health, PallasNode
from pallas_ros.ros.qos import LATCHED, SENSOR


class ImuDriverNode(PallasNode):
    """Adapter around `pallas_ros.imu.driver.ImuDriver`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/imu_driver.yaml`."""
        self._driver: ImuDriver | None = None
        self._foreign = ""  # why the calibration in force does not belong to these sensors
        super().__init__("imu_driver", **kwargs)

    def configure(self) -> None:
        """Find the ports."""
        s = self.settings
        self._publishers_of = {site: self.advertise(Imu, TOPIC_IMU.format(site=site), SENSOR) for site in SITES}
        self._driver = ImuDriver(
            ports=s["ports"],
            protocols=s["protocols"],
            on_sample=self._publish,
            baud_rate=s["baud_rate"],
            clock=self.now,
            orientation=s["orientation"],
            read_interval_s=s["read_interval_s"],
        )
        self._driver.check(s["port_wait_s"])
        if s["calibration"]:
            Calibration.load(Path(s["calibration"]).expanduser()).check_sensors(self._driver.identities())
        self._foreign = ""
        self.subscribe(String, TOPIC_CALIBRATION, self._on_calibration, LATCHED)
        self.every(1.0, self._tell)

    def activate(self) -> None:
        """Begin to read."""
        assert self._driver is not None
        self._driver.start()

    def deactivate(self) -> None:
        """Close the ports."""
        if self._driver is not None:
            self._driver.stop()

    def cleanup(self) -> None:
        """Close the ports."""
        self.deactivate()
        self._driver = None

    def health(self) -> Health:
        """Rates, losses, latencies; what is wrong in words."""
        if self._driver is None or not self.active:
            return Health()
        if self._foreign:
            return Health(2, self._foreign, self._driver.figures())
        problems = self._driver.problems()
        request = self._driver.request
        return Health(1 if problems or request else 0, request or "; ".join(problems) or "all sensors stream", self._driver.figures())

    def _publish(self, site: str, sample: ImuSample) -> None:
        """Runs in the reader's thread."""
        if self.active and not self._foreign:
            self._publishers_of[site].publish(imu_to_msg(sample, f"imu_{site}"))

    def _on_calibration(self, message: String) -> None:
        """The calibration in force, whoever loaded or found it: nothing is published for one that was made with other sensors."""
        assert self._driver is not None
        try:
            Calibration.from_yaml(message.data, "the calibration in force").check_sensors(self._driver.sensors())
            self._foreign = ""
        except PallasError as error:
            self._foreign = f"{error}; nothing is published until then"
            self.say(self._foreign)

    def _tell(self) -> None:
        assert self._driver is not None
        if self._foreign:
            self.say(self._foreign)
        for sentence in [self._driver.request] if self._driver.request else self._driver.problems():
            self.say(sentence)
