"""Read the worn sensors' serial ports and publish `/imu/<site>`.

`/imu/sensors` reports which sensor is worn at which site.
"""

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Imu

from pallas_ros.body.names import SITES, TOPIC_IMU, TOPIC_SENSORS
from pallas_ros.body.resources import expanded
from pallas_ros.body.sites import worn_sites
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.driver import ImuDriver
from pallas_ros.imu.ports import with_simulated
from pallas_ros.imu.sample import ImuSample
from pallas_ros.messages.encode import sensors_to_msg
from pallas_ros.messages.wire import imu_to_bytes
from pallas_ros.ros.node import Health, PallasNode
from pallas_ros.ros.qos import LATCHED, SENSOR

SENSORS_CHECK_S = 0.1
SENSORS_PERIOD_S = 1.0


class ImuDriverNode(PallasNode):
    """Adapter around `pallas_ros.imu.driver.ImuDriver`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/imu_driver.yaml`."""
        self._built: ImuDriver | None = None
        self._published: dict[str, str] = {}  # site -> sensor, as last published
        super().__init__("imu_driver", **kwargs)

    @property
    def _driver(self) -> ImuDriver:
        """The driver built by `configure`."""
        return self.built(self._built)

    def configure(self) -> None:
        """Find the ports."""
        s = self.settings
        sites = worn_sites((*SITES, *s["extra_sites"]))
        self._publishers_of = {
            site: self.advertise(Imu, TOPIC_IMU.format(site=site), SENSOR) for site in sites
        }
        calibration = Calibration.load(expanded(s["calibration"])) if s["calibration"] else None
        self._built = ImuDriver(
            ports=with_simulated(s["ports"], sites),
            protocols=s["protocols"],
            on_sample=self._publish,
            baud_rate=s["baud_rate"],
            clock=self.now,
            orientation=s["orientation"],
            read_interval_s=s["read_interval_s"],
            gyroscope_bias={site: found.gyroscope_bias for site, found in calibration.sites.items()}
            if calibration
            else None,
            sites=sites,
        )
        self._driver.check(s["port_wait_s"])
        if calibration is not None:
            calibration.check_sensors(self._driver.identities())
        self._sensors = self.advertise(DiagnosticArray, TOPIC_SENSORS, LATCHED)
        self._published = {}
        self.every(SENSORS_CHECK_S, self._publish_changed_sensors)
        self.every(SENSORS_PERIOD_S, self._republish_sensors)

    def activate(self) -> None:
        """Start reading."""
        self._publish_sensors(self._driver.identities())
        self._driver.start()

    def deactivate(self) -> None:
        """Close the ports."""
        if self._built is not None:
            self._driver.stop()

    def cleanup(self) -> None:
        """Close the ports."""
        self.deactivate()
        self._built = None

    def health(self) -> Health:
        """Report rates, losses, latencies and faults."""
        if self._built is None or not self.active:
            return Health()
        problems = self._driver.problems()
        request = self._driver.request
        return Health(
            1 if problems or request else 0,
            request or "; ".join(problems) or "all sensors are streaming",
            self._driver.figures(),
        )

    def _publish(self, site: str, sample: ImuSample) -> None:
        """Publish a sample; runs in the reader's thread."""
        if self.active:
            self._publishers_of[site].publish(imu_to_bytes(sample, f"imu_{site}"))

    def _publish_sensors(self, sensors: dict[str, str]) -> None:
        self._published = sensors
        self._sensors.publish(sensors_to_msg(self.now(), sensors))

    def _publish_changed_sensors(self) -> None:
        """Publish the sensors when one was found or replaced.

        A running calibration must know before many of the new samples arrive.
        """
        if (sensors := self._published | self._driver.sensors()) != self._published:
            self._publish_sensors(sensors)

    def _republish_sensors(self) -> None:
        """Publish the sensors repeatedly.

        An inactive node drops the messages it receives, and a replay may start anywhere.
        """
        self._publish_sensors(self._published)
        for sentence in [self._driver.request] if self._driver.request else self._driver.problems():
            self.say(sentence)
