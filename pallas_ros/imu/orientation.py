"""Orientation for sensors that send none: VQF, with heading drift corrected by a magnetometer.

Laidig and Seel, "VQF: Highly accurate IMU orientation estimation with bias estimation and magnetic
disturbance rejection", Information Fusion 91 (2023), by its authors' package ``vqf``: tilt and
gyroscope bias, from gyroscope and accelerometer. Its own magnetometer update accepts a disturbed
field as the new reference after 20 s, and does not detect sideways disturbances; `magnetic`
replaces it (docs/guide/sensors.md has measurements of both).
"""

import math
from operator import add

import numpy as np
from vqf import VQF

from pallas_ros.body import rotations
from pallas_ros.body.rotations import Array
from pallas_ros.imu.field_model import CommonField
from pallas_ros.imu.magnetic import PERIOD_S, MagneticHeading

MODES = ("auto", "sensor", "6d", "9d")
"""auto: the sensor's own quaternion if available, else VQF, with the magnetometer if there is one;
sensor: own, else VQF without;
6d, 9d: always VQF, without or with the magnetometer.
"""


_RATE_KNOWN = 50  # samples
_BIAS_MOST = math.radians(2.0)  # rad/s: VQF's maximum bias
# rad/s, of a previously found bias: temperature may have changed it
_BIAS_SIGMA_KNOWN = math.radians(0.1)
_BIAS_SIGMA_MOTION = 0.03
"""deg/s, VQF's assumed accuracy of the bias about horizontal axes in movement.

In everyday movement its default of 0.1 leaves an error of 0.06 to 0.12 deg/s, this value 0.04 to
0.07; and a wrist's horizontal axes soon become vertical.
"""


class OrientationFilter:
    """Orientation of one sensor, sample by sample; the rate is derived from the device times.

    The world is z up, with an arbitrary heading (6d, or without magnetic field) or x east, y
    magnetic north (9d).
    """

    def __init__(
        self,
        use_magnetometer: bool = False,
        rate_hz: float = 100.0,
        common: CommonField | None = None,
        bias: Array | None = None,
    ) -> None:
        """``rate_hz`` is used until the true rate is known (50 samples); then the filter restarts
        with it.

        ``common`` is shared by the sensors of one wearer, to separate field variations from drift.
        ``bias``: (3,) rad/s of the gyroscope, if previously found.
        """
        self.use_magnetometer = use_magnetometer
        self.rate_hz = rate_hz
        self._common = common
        self._given = bias
        self._times: list[float] = []
        self._q_world_sensor: Array | None = None
        self._begun = False
        self._begin()

    def resumed(self) -> "OrientationFilter":
        """Return a filter for the same sensor after a silence.

        Rate, bias and, as far as gravity allows, heading are kept: the rotation in between is
        unknown. A magnetic field reveals it after half a second.
        """
        again = OrientationFilter(self.use_magnetometer, self.rate_hz, self._common, self.bias)
        again._times = self._times if len(self._times) == _RATE_KNOWN else []
        again._q_world_sensor = self._q_world_sensor
        return again

    def update(
        self, time: float, rate: Array, acceleration: Array, magnetic_field: Array | None = None
    ) -> Array:
        """Return the orientation (4,) xyzw, sensor to world.

        Args:
            time: s on the sensor's clock.
            rate: (3,) rad/s.
            acceleration: (3,) m/s^2, specific force.
            magnetic_field: (3,) any unit, or None.
        """
        self._learn_rate(time)
        self._filter.update(
            np.ascontiguousarray(rate, np.float64), np.ascontiguousarray(acceleration, np.float64)
        )
        w, x, y, z = self._filter.getQuat6D().tolist()
        if not self._begun:
            self._begun = True
            if self._q_world_sensor is not None:
                turned = rotations.multiply(
                    np.array((x, y, z, w)), rotations.inverse(self._q_world_sensor)
                )
                self._carried = float(rotations.turn_about_z(turned))
        if self.use_magnetometer:
            self._add_field(x, y, z, w, rate, magnetic_field)
        drift = self._magnetic.drift if self._magnetic.started else self._carried
        c = math.cos(0.5 * drift)
        s = -math.sin(0.5 * drift)
        self._q_world_sensor = np.array(
            (c * x - s * y, c * y + s * x, c * z + s * w, c * w - s * z)
        )
        return self._q_world_sensor

    @property
    def bias(self) -> Array:
        """Estimated gyroscope bias, (3,) rad/s."""
        return np.asarray(self._filter.getBiasEstimate()[0])

    def _begin(self) -> None:
        self._filter = VQF(1.0 / self.rate_hz, biasSigmaMotion=_BIAS_SIGMA_MOTION)
        if self._given is not None:
            self._filter.setBiasEstimate(
                np.clip(np.asarray(self._given, np.float64), -_BIAS_MOST, _BIAS_MOST),
                _BIAS_SIGMA_KNOWN,
            )
        self._begun = False
        # rad, the drift with which the heading continues from `_q_world_sensor`
        self._carried = 0.0
        self._magnetic = MagneticHeading(common=self._common)
        # sums over a period: field in the six-axis frame, its sample count, that frame's z in the
        # sensor frame, rate
        self._sum = [0.0] * 10
        self._summed = 0
        self._levelling: Array = rotations.IDENTITY

    def _add_field(
        self, x: float, y: float, z: float, w: float, rate: Array, magnetic_field: Array | None
    ) -> None:
        """Average over a period and then step the magnetic filter.

        Scalar arithmetic, because every sample passes here. Magnetometers may be slower than the
        other sensors: a period lasts for its nominal number of samples and until it has a field.
        """
        mx, my, mz = (0.0, 0.0, 0.0) if magnetic_field is None else magnetic_field.tolist()
        tx = 2 * (y * mz - z * my)
        ty = 2 * (z * mx - x * mz)
        tz = 2 * (x * my - y * mx)
        field = (
            mx + w * tx + y * tz - z * ty,
            my + w * ty + z * tx - x * tz,
            mz + w * tz + x * ty - y * tx,
        )
        up = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
        self._sum = list(
            map(add, self._sum, (*field, magnetic_field is not None, *up, *rate.tolist()))
        )
        self._summed += 1
        if self._summed >= PERIOD_S * self.rate_hz and self._sum[3]:
            mean = np.array(self._sum) / self._summed
            axes = np.vstack((rotations.to_matrix(np.array((x, y, z, w)))[:2], mean[4:7]))
            self._magnetic.step(
                mean[:3] / mean[3], axes, self.bias, self._levelled(x, y, z, w), mean[7:]
            )
            self._sum = [0.0] * 10
            self._summed = 0

    def _levelled(self, x: float, y: float, z: float, w: float) -> Array:
        """Return the accelerometer's correction rate of the six-axis frame about x and y.

        Since the last period, (2,) rad/s, negated.
        """
        before = self._levelling
        gw, gx, gy, gz = self._filter.getQuat3D()
        self._levelling = rotations.multiply(np.array((x, y, z, w)), np.array((-gx, -gy, -gz, gw)))
        return (
            -rotations.to_rotvec(rotations.multiply(self._levelling, rotations.inverse(before)))[:2]
            / PERIOD_S
        )

    def _learn_rate(self, time: float) -> None:
        if len(self._times) == _RATE_KNOWN:
            return
        self._times.append(time)
        if len(self._times) == _RATE_KNOWN:
            period = float(np.median(np.diff(self._times)))
            if 1 / 2000 < period < 1 / 10 and abs(period * self.rate_hz - 1) > 0.02:
                self.rate_hz = 1 / period
                self._begin()
