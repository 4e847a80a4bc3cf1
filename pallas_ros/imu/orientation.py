"""Orientation for sensors that send none: VQF, from gyroscope, accelerometer and, if wanted, magnetometer.

Laidig and Seel, "VQF: Highly accurate IMU orientation estimation with bias estimation and magnetic disturbance rejection",
Information Fusion 91 (2023), by its authors' package ``vqf``.
"""

import numpy as np
from vqf import VQF

from pallas_ros.body.rotations import Array

MODES = ("sensor", "6d", "9d")
"""The sensor's own quaternion where it has one (else 6d); always VQF without, always VQF with the magnetometer."""


class OrientationFilter:
    """One sensor's orientation, sample by sample; the rate is taken from the device times.

    The world is z up with an arbitrary heading (6d) or x to the east, y to magnetic north (9d).
    """

    def __init__(self, use_magnetometer: bool = False, rate_hz: float = 100.0) -> None:
        """``rate_hz`` holds until the true rate is known (after 50 samples), and then the filter starts anew with it."""
        self.use_magnetometer = use_magnetometer
        self.rate_hz = rate_hz
        self._times: list[float] = []
        self._filter = VQF(1.0 / rate_hz)

    def update(self, time: float, rate: Array, acceleration: Array, magnetic_field: Array | None = None) -> Array:
        """Orientation (4,) xyzw, sensor to world.

        Args:
            time: s on the sensor's clock.
            rate: (3,) rad/s.
            acceleration: (3,) m/s^2, specific force.
            magnetic_field: (3,) any unit, or None.
        """
        self._learn_rate(time)
        gyr = np.ascontiguousarray(rate, np.float64)
        acc = np.ascontiguousarray(acceleration, np.float64)
        if self.use_magnetometer and magnetic_field is not None:
            self._filter.update(gyr, acc, np.ascontiguousarray(magnetic_field, np.float64))
            w, x, y, z = self._filter.getQuat9D()
        else:
            self._filter.update(gyr, acc)
            w, x, y, z = self._filter.getQuat9D() if self.use_magnetometer else self._filter.getQuat6D()
        return np.array([x, y, z, w])

    @property
    def bias(self) -> Array:
        """Gyroscope bias as estimated, (3,) rad/s."""
        return np.asarray(self._filter.getBiasEstimate()[0])

    @property
    def disturbed(self) -> bool:
        """Is the magnetic field rejected as disturbed at the moment?"""
        return bool(self.use_magnetometer and self._filter.getMagDistDetected())

    def _learn_rate(self, time: float) -> None:
        if len(self._times) >= 50:
            return
        self._times.append(time)
        if len(self._times) == 50:
            period = float(np.median(np.diff(self._times)))
            if 1 / 2000 < period < 1 / 10 and abs(period * self.rate_hz - 1) > 0.02:
                self.rate_hz = 1 / period
                self._filter = VQF(period)
