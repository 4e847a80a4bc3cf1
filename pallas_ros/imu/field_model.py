"""Model of the magnetic field around a wearer, and the part that their sensors share."""

import math
import threading
import weakref
from dataclasses import dataclass

import numpy as np

from pallas_ros.body.rotations import Array


@dataclass(frozen=True, slots=True)
class FieldModel:
    """Parameters of the model; rad, s, and the earth's field strength as 1.

    Attributes:
        bias: rad/s, initial standard deviation of the gyroscope bias per axis.
        bias_walk: rad/s/sqrt(s), random walk of the bias.
        bias_step: rad/s, standard deviation of a bias step per axis; every `bias_step_s`.
        level: rad/s, standard deviation of the gravity correction rate of the six-axis frame, as an
            independent measurement in every period. Movement adds 0.1 to 0.3 deg/s for seconds,
            which averages out within ten.
        level_s: s, lag of that rate (VQF's `tauAcc`).
        still: rad/s: if no axis' mean rate has changed by more over three periods, the sensor is
            at rest.
        rest: rad/s, standard deviation of the true rate at rest.
        walk: rad/sqrt(s), random walk of the drift.
        ambient: standard deviation of the field of the surroundings; it varies within `ambient_s`.
        own: the same for the part seen by this sensor only; `shared` is the weight of the other
            sensors.
        fresh, calmest: initial and minimum share of `ambient` and `own`. In between it is estimated
            away from steel, within `calm_s`; near steel the estimate decays within `forget_s`.
        noise: standard deviation of the mean field of a period, including the tilt error of the
            six-axis orientation.
        moving, steady: 1/sqrt(s), rate of change of the steel's field while it comes or goes, and
            near it.
        earth: 1/sqrt(s), rate of change of the earth's field.
        meets_s, settles_s, leaves_s: s, mean time until the wearer approaches steel, stays there or
            has left, and until they leave it.
    """

    bias: float = math.radians(0.3)
    bias_walk: float = math.radians(0.005)
    bias_step: float = math.radians(0.35)
    bias_step_s: float = 300.0
    level: float = math.radians(0.25)
    level_s: float = 3.0
    still: float = math.radians(0.15)
    rest: float = math.radians(0.1)
    walk: float = math.radians(0.05)
    ambient: float = 0.016
    ambient_s: float = 10.0
    own: float = 0.015
    shared: float = 0.8
    fresh: float = 0.5
    calmest: float = 0.3
    calm_s: float = 60.0
    forget_s: float = 300.0
    noise: float = 0.008
    moving: float = 0.25
    steady: float = 0.003
    earth: float = 0.0001
    meets_s: float = 120.0
    settles_s: float = 1.5
    leaves_s: float = 20.0


class CommonField:
    """Difference between the ambient field and the earth's, shared by one wearer's sensors.

    Thread-safe; a sensor is identified by its `MagneticHeading`. A drift belongs to one sensor, a
    field variation to all of them, so the others help to distinguish the two.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._felt: weakref.WeakKeyDictionary[object, Array] = weakref.WeakKeyDictionary()

    def report(self, who: object, ambient: Array | None) -> None:
        """Report (3,) the field of sensor ``who`` in excess of the earth's: east, north, up.

        None while it is near steel.
        """
        with self._lock:
            if ambient is None:
                self._felt.pop(who, None)
            else:
                self._felt[who] = ambient

    def others(self, who: object) -> Array | None:
        """Median of the other sensors' fields (3,), or None."""
        with self._lock:
            felt = [ambient for other, ambient in self._felt.items() if other is not who]
        return np.asarray(np.median(felt, axis=0)) if felt else None
