"""Heading from a magnetometer that is now and then near steel: how far a gyroscope's heading has drifted, and its bias with it.

A switching Kalman filter (Bar-Shalom, Li, Kirubarajan 2001, section 11.6, with one filter and the mode's probability): the field is either the earth's, as it
was at the start, or disturbed, which says nothing. Strength and dip tell the two apart, as in VQF (Laidig and Seel 2023), but they
are blind to what pushes the field sideways; so the third witness is the gyroscope: heading drifts no faster than its bias allows.
While the field is disturbed the bias learned before goes on correcting.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from pallas_ros.body.rotations import Array

PERIOD_S = 0.1
"""The field is averaged over this; the filter needs no more."""


@dataclass(frozen=True, slots=True)
class FieldModel:
    """What is assumed; rad and s.

    Attributes:
        bias: rad/s, standard deviation of the gyroscope's bias per axis at the start, and after it was lost.
        bias_walk: rad/s/sqrt(s), random walk of the bias; generous, so that its steps are followed.
        noise: rad, standard deviation of the magnetic heading, correlated over `noise_s`.
        agreement: rad, how far the earth's field may seem to stray from the gyroscope's heading, beyond the filter's own doubt.
        strength: relative deviation of the earth's strength; dip: rad, of its inclination.
        stray: rad, standard deviation of the heading of a disturbed field; stray_strength, stray_dip: the same of its strength and dip.
        meets_s, leaves_s: s, how long until the wearer comes near steel, and away from it.
        witness_s: s, how long the field is looked at until it counts as one more witness.
        relock_s: s, a field of the right strength and dip for so long is believed even against the gyroscope, as far as twice `bias` explains
            what has come between them meanwhile.
        back_s: s, what was learned just before a disturbance was noticed is forgotten.
    """

    bias: float = math.radians(0.3)
    bias_walk: float = math.radians(0.0167)
    noise: float = math.radians(2.5)
    noise_s: float = 1.0
    agreement: float = math.radians(2.0)
    strength: float = 0.03
    dip: float = math.radians(2.0)
    stray: float = math.radians(40.0)
    stray_strength: float = 0.15
    stray_dip: float = math.radians(10.0)
    meets_s: float = 120.0
    leaves_s: float = 20.0
    witness_s: float = 0.5
    relock_s: float = 12.0
    back_s: float = 2.0


class MagneticHeading:
    """Follows the heading drift of one sensor's six-axis orientation; see the module.

    Attributes:
        drift: rad, heading of the six-axis orientation beyond the true one (x east, y magnetic north); 0 until the field is known.
        clean: probability that the field is the earth's now.
    """

    def __init__(self, model: FieldModel | None = None) -> None:
        self.model = m = model or FieldModel()
        self.drift, self.clean = 0.0, 1.0
        self._x: Array = np.zeros(4)  # drift; bias of the gyroscope that the six-axis filter has not found, sensor frame
        self._P: Array = np.diag(np.square([0.0, m.bias, m.bias, m.bias]))
        self._past: deque[tuple[Array, Array, Array, Array]] = deque(maxlen=max(round(m.back_s / PERIOD_S), 1))
        self._first: list[tuple[float, float, float, float]] = []
        self._field: tuple[float, float] | None = None  # strength and dip of the earth's field here
        self._bias: Array | None = None
        self._agreeing = self._unfollowed_s = 0.0
        self._followed = True

    def step(self, field: Array, up: Array, bias: Array) -> float:
        """Take the mean field of one `PERIOD_S` and return `drift`.

        Args:
            field: (3,) in the frame of the six-axis orientation, z up; any unit.
            up: (3,) mean direction of that frame's z in the sensor frame: about it turns what changes the heading.
            bias: (3,) rad/s, the gyroscope's bias as the six-axis filter has it; what it finds itself is no drift any more.
        """
        found = np.zeros(3) if self._bias is None else bias - self._bias
        self._bias = bias.copy()
        self._past.append((self._x, self._P, up.copy(), found))
        self._x, self._P = self._predict(self._x, self._P, up, found)
        strength = math.sqrt(float(field @ field))
        if strength > 0.0 and math.isfinite(strength):
            dip = -math.asin(max(-1.0, min(1.0, float(field[2]) / strength)))
            heading = math.atan2(float(field[1]), float(field[0])) - math.pi / 2
            if self._field is None:
                self._begin(strength, dip, heading)
            else:
                self._weigh(strength / self._field[0] - 1, dip - self._field[1], heading)
        self.drift = float(self._x[0])
        return self.drift

    def _begin(self, strength: float, dip: float, heading: float) -> None:
        """The field at the start is taken for the earth's; its median over two seconds."""
        self._first.append((strength, dip, math.cos(heading), math.sin(heading)))
        strength, dip, c, s = (float(v) for v in np.median(self._first, axis=0))
        self._x[0] = math.atan2(s, c)
        if len(self._first) * PERIOD_S >= 2.0:
            self._field = strength, dip

    def _predict(self, x: Array, P: Array, up: Array, found: Array) -> tuple[Array, Array]:
        F = np.eye(4)
        F[0, 1:] = up * PERIOD_S
        x = x.copy()
        x[1:] -= found
        P = F @ P @ F.T
        P[[1, 2, 3], [1, 2, 3]] += self.model.bias_walk**2 * PERIOD_S
        return F @ x, P

    def _weigh(self, stronger: float, deeper: float, heading: float) -> None:
        """Decide whether the field is the earth's, and follow it as far as it is."""
        m = self.model
        surprise = _wrap(heading - float(self._x[0]))
        doubt = float(self._P[0, 0]) + m.agreement**2
        earth = _log_normal(surprise, doubt) + _log_normal(stronger, m.strength**2) + _log_normal(deeper, m.dip**2)
        steel = _log_normal(surprise, doubt + m.stray**2) + _log_normal(stronger, m.stray_strength**2) + _log_normal(deeper, m.stray_dip**2)
        prior = self.clean * (1 - PERIOD_S / m.meets_s) + (1 - self.clean) * PERIOD_S / m.leaves_s
        odds = math.log(prior / (1 - prior)) + max(-6.0, min(3.0, (earth - steel) * PERIOD_S / m.witness_s))
        self.clean = 1 / (1 + math.exp(-max(-12.0, min(12.0, odds))))
        if self.clean < 0.5 and self._followed:
            surprise = self._forget(heading)
        self._followed = (self._followed and self.clean >= 0.5) or self.clean > 0.9
        fits = 0.5 * (stronger / m.strength) ** 2 + 0.5 * (deeper / m.dip) ** 2 < 4.0
        self._agreeing = 0.0 if self.clean >= 0.5 else self._agreeing + PERIOD_S if fits else max(self._agreeing - 5 * PERIOD_S, 0.0)
        self._unfollowed_s = 0.0 if self.clean >= 0.5 else self._unfollowed_s + PERIOD_S
        if self._agreeing > m.relock_s and abs(surprise) < 2 * m.bias * self._unfollowed_s + 2 * math.sqrt(float(self._P[0, 0])):
            self._relock(surprise)
        if self.clean > 0.5:
            self._follow(surprise, stronger, deeper)

    def _forget(self, heading: float) -> float:
        """Back to what was known `back_s` ago, brought forward without the field; the surprise of ``heading`` then."""
        x, P = self._past[0][:2]
        for _, _, up, found in self._past:
            x, P = self._predict(x, P, up, found)
        self._x, self._P = x, P
        return _wrap(heading - float(x[0]))

    def _relock(self, surprise: float) -> None:
        """The gyroscope was wrong, not the field: heading and bias are learned anew."""
        self._P[0, :] = self._P[:, 0] = 0.0
        self._P[0, 0] = surprise**2
        self._P[[1, 2, 3], [1, 2, 3]] += self.model.bias**2
        self.clean, self._followed, self._agreeing = 0.95, True, 0.0

    def _follow(self, surprise: float, stronger: float, deeper: float) -> None:
        m = self.model
        row = self._P[0].copy()
        gain = row / (row[0] + m.noise**2 * m.noise_s / PERIOD_S / self.clean**2)
        self._x = self._x + gain * surprise
        self._P = self._P - np.outer(gain, row)
        self._P = 0.5 * (self._P + self._P.T)
        assert self._field is not None
        slowly = self.clean * PERIOD_S / 30.0
        self._field = self._field[0] * (1 + slowly * stronger), self._field[1] + slowly * deeper


def _log_normal(value: float, variance: float) -> float:
    return -0.5 * (value * value / variance + math.log(variance))


def _wrap(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi
