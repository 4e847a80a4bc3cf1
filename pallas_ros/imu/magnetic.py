"""Heading from magnetometers that are now and then near steel: how far a gyroscope's heading has drifted, its bias, and how sure that is.

The field that a sensor feels, in the frame of its six-axis orientation, is ``f = Rz(d) (e + a + s)``: `d` the drift looked for, `e` the earth's
field, `a` what the surroundings add and the wearer's walking about makes wander, `s` what steel adds. A Kalman filter follows
``x = (d, b, a, s, e)``, b being the bias of the gyroscope that the six-axis filter has not found, with ``d' = up . b``. The disturbance is part
of the state (Sabatini 2012, "Variable-state-dimension Kalman-based filter for orientation determination", Sensors 12(7)), so that beside steel,
where the field tells no heading, it still tells how fast the heading drifts (Munoz Diaz et al. 2017, "Use of the magnetic field for improving
gyroscopes' biases estimation", Sensors 17(4)).

Nobody says when steel comes or a bias steps. So several such filters go on side by side, each with another story of what happened, and the
measured field weighs them (multiple hypotheses; Bar-Shalom, Li, Kirubarajan 2001, chapter 11)::

    EARTH -> EARTH | MOVING        s = 0
    MOVING -> MOVING | STEADY | EARTH    s changes fast: steel comes or goes, the field says nothing
    STEADY -> STEADY | MOVING      s all but constant: heading unknown to it, bias known

and in EARTH and STEADY now and then the bias steps. A field that jumps is steel, one that turns as slowly as gyroscopes drift is drift; what cannot
be told at once is told when a story has failed. Likely stories stay, the others and doubles of them go.

Gravity shows the six-axis filter its bias about horizontal axes, so what is left to find is about the vertical; a sensor that is turned over, as a
wrist is, soon knows all of it. How far the surroundings make the field wander is learned on the way: where it is calm, less is taken for wandering.
"""

import math
import threading
import weakref
from dataclasses import dataclass

import numpy as np

from pallas_ros.body.rotations import Array

PERIOD_S = 0.5
"""The field is averaged over this; the filter needs no more."""

EARTH, MOVING, STEADY = range(3)
_B, _A, _S, _E = np.arange(1, 4), np.arange(4, 7), np.arange(7, 10), np.arange(10, 13)
_STATES = 13
_AXES = np.arange(3)
_MOST = {EARTH: 8, MOVING: 4, STEADY: 8}
_FORGOTTEN = 14.0  # of the logarithm of the odds against the likeliest story
_BRANCHING = 4.6  # a story worse than that does not begin with a step of the bias
_ALIKE = 0.7  # standard deviations: stories closer than that are one
_BLIND = 0.5  # rad/s: standard deviation of a bias that nothing is known of
_ABOUT = 0.9  # of the mean of a unit vector: below it, that turned too much to have a direction


@dataclass(frozen=True, slots=True)
class FieldModel:
    """What is assumed; rad, s, and the strength of the earth's field, which is 1.

    Attributes:
        bias: rad/s, standard deviation of the gyroscope's bias per axis at the start.
        bias_walk: rad/s/sqrt(s), random walk of the bias.
        bias_step: rad/s, standard deviation of a step of it per axis; every `bias_step_s`.
        bias_found: rad/s: when the six-axis filter changes its bias by x, it may have found what was there, or followed something new; variance x times this.
        level: rad/s, standard deviation of what that filter has not found about a horizontal axis, as if told anew every period: its errors
            are a quarter of this and last for seconds.
        walk: rad/sqrt(s), random walk of the drift.
        ambient: standard deviation of the field that the surroundings add; it wanders within `ambient_s`.
        own: the same of the part that no other sensor of the wearer feels; `shared` is how far the others are followed.
        fresh, calmest: share of `ambient` and `own` that is believed at the start, and at least. In between it is what is felt away from steel,
            within `calm_s`; beside steel it is forgotten within `forget_s`.
        noise: standard deviation of the mean field of a period, tilt of the six-axis orientation included.
        moving, steady: 1/sqrt(s), how fast the field of steel changes while it comes or goes, and beside it.
        earth: 1/sqrt(s), how fast the earth's field does.
        meets_s, settles_s, leaves_s: s, how long until the wearer comes near steel, stays there or has left, and away from it.
    """

    bias: float = math.radians(0.3)
    bias_walk: float = math.radians(0.005)
    bias_step: float = math.radians(0.35)
    bias_step_s: float = 300.0
    bias_found: float = 0.003
    level: float = math.radians(0.2)
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
    """What the sensors of one wearer tell one another: how the field of the surroundings differs from the earth's here; thread-safe.

    A drift is one sensor's own, a wandering field is everybody's, so the others show which of the two it is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._felt: weakref.WeakKeyDictionary[MagneticHeading, Array] = weakref.WeakKeyDictionary()

    def tell(self, who: "MagneticHeading", ambient: Array | None) -> None:
        """``ambient``: (3,) the field ``who`` feels beyond the earth's, east, north, up; None where it is near steel."""
        with self._lock:
            if ambient is None:
                self._felt.pop(who, None)
            else:
                self._felt[who] = ambient

    def others(self, who: "MagneticHeading") -> Array | None:
        """Median of what the others feel (3,), or None."""
        with self._lock:
            felt = [ambient for other, ambient in self._felt.items() if other is not who]
        return np.asarray(np.median(felt, axis=0)) if felt else None


class MagneticHeading:
    """Follows the heading drift of one sensor's six-axis orientation; see the module.

    Attributes:
        drift: rad, heading of the six-axis orientation beyond the true one (x east, y magnetic north); 0 until there is a field.
        variance: rad^2, of what `drift` has become since the start.
        clean: probability that no steel is near now.
    """

    def __init__(self, model: FieldModel | None = None, common: CommonField | None = None) -> None:
        """``common``: shared with the other sensors of the same wearer."""
        self.model = model or FieldModel()
        self.drift, self.variance, self.clean = 0.0, 0.0, 1.0
        self._common = common
        self._ambient: Array | None = None  # what the others feel
        self._bias: Array | None = None
        self._strength = 0.0
        self._unrest = self.model.fresh**2  # variance of the field around, as a share of what the model says
        self._x: Array = np.zeros((1, _STATES))  # one row a story
        self._P: Array = np.zeros((1, _STATES, _STATES))
        self._mode = np.array([EARTH])
        self._odds: Array = np.zeros(1)

    def step(self, field: Array, up: Array, bias: Array) -> float:
        """Take the mean field of one `PERIOD_S` and return `drift`.

        Args:
            field: (3,) in the frame of the six-axis orientation, z up; any unit.
            up: (3,) mean direction of that frame's z in the sensor frame: about it turns what changes the heading.
            bias: (3,) rad/s, the gyroscope's bias as the six-axis filter has it; what it finds itself is no drift any more.
        """
        found = np.zeros(3) if self._bias is None else bias - self._bias
        self._bias = bias.copy()
        strength = math.sqrt(float(field @ field))
        if not (strength > 0.0 and math.isfinite(strength)):
            return self.drift
        if not self._strength:
            self._begin(field, strength)
        else:
            was = self._branch()
            self._predict(was, up, found)
            self._measure(field / self._strength, up)
            self._reduce()
            self._conclude(field / self._strength)
        return self.drift

    def _begin(self, field: Array, strength: float) -> None:
        """North is where the field points now, as far as its surroundings allow; the drift is counted from here."""
        m, self._strength = self.model, strength
        east, north, upward = (field / strength).tolist()
        self.drift = math.atan2(-east, north)
        self._x[0, 0], self._x[0, _E] = self.drift, (0.0, math.hypot(east, north), upward)
        P = self._P[0]
        P[_B, _B] = m.bias**2
        P[_A, _A] = P[_E, _E] = (m.fresh * m.ambient) ** 2
        P[_A, _E] = P[_E, _A] = -((m.fresh * m.ambient) ** 2)

    def _branch(self) -> Array:
        """Every story goes on in each way it may; returns the mode each was in, and sets apart where the bias steps."""
        m = self.model
        meets, settles, leaves, steps = (PERIOD_S / s for s in (m.meets_s, m.settles_s, m.leaves_s, m.bias_step_s))
        settles = 1 - math.exp(-settles)
        ways = {
            EARTH: ((EARTH, 1 - meets - steps, False), (MOVING, meets, False), (EARTH, steps, True)),
            MOVING: ((MOVING, 1 - settles, False), (STEADY, settles / 2, False), (EARTH, settles / 2, False)),
            STEADY: ((STEADY, 1 - leaves - steps, False), (MOVING, leaves, False), (STEADY, steps, True)),
        }
        going = [
            (i, mode, self._odds[i] + math.log(chance), stepped)
            for i, before in enumerate(self._mode.tolist())
            for mode, chance, stepped in ways[before]
            if not stepped or self._odds[i] > -_BRANCHING
        ]
        source, mode, odds, stepped = (np.array(column) for column in zip(*going, strict=True))
        was, self._mode, self._odds = self._mode[source], mode, odds
        self._x, self._P = self._x[source], self._P[source]
        self._P[:, _B, _B] += np.where(stepped, m.bias_step**2, 0.0)[:, None]
        return np.asarray(was)

    def _predict(self, was: Array, up: Array, found: Array) -> None:
        m, x = self.model, self._x
        before = self._ambient
        others = self._common.others(self) if self._common is not None else None
        self._ambient = None if others is None else m.shared * others
        x[:, _B] -= found
        x[:, 0] += PERIOD_S * (x[:, _B] @ up)
        keep = math.exp(-PERIOD_S / m.ambient_s)
        around = np.zeros(3) if self._ambient is None else self._ambient
        last = np.zeros(3) if self._ambient is None else around if before is None else before
        x[:, _A] = keep * (x[:, _A] - last) + around
        F = np.eye(_STATES)
        F[0, _B], F[_A, _A] = PERIOD_S * up, keep
        P = F @ self._P @ F.T
        P[:, 0, 0] += m.walk**2 * PERIOD_S
        P[:, _B, _B] += m.bias_walk**2 * PERIOD_S + np.abs(found) * m.bias_found
        restless = min(max(math.sqrt(self._unrest), m.calmest), 1.0)
        spread = restless * (m.ambient if self._ambient is None else m.own)
        newly = (restless * m.ambient) ** 2 if self._ambient is not None and before is None else 0.0
        P[:, _A, _A] += spread**2 * (1 - keep * keep) + newly
        P[:, _E, _E] += m.earth**2 * PERIOD_S
        away = ((self._mode == EARTH) & (was != EARTH)).nonzero()[0][:, None]
        x[away, _S] = P[away, _S] = 0.0
        P[away, :, _S] = 0.0
        P[:, _S, _S] += PERIOD_S * np.array([0.0, m.moving**2, m.steady**2])[self._mode][:, None]
        self._P = P

    def _measure(self, field: Array, up: Array) -> None:
        """Kalman update of all stories with the field, and with what gravity told of the bias; what they say of each story."""
        x, P = self._x, self._P
        c, s = np.cos(x[:, 0]), np.sin(x[:, 0])
        seen = np.stack((c * field[0] + s * field[1], -s * field[0] + c * field[1], np.full(len(x), field[2])), axis=1)
        expected = x[:, _A] + x[:, _S] + x[:, _E]
        H = np.zeros((len(x), 6, _STATES))
        for part in (_A, _S, _E):
            H[:, _AXES, part] = 1.0
        H[:, 0, 0], H[:, 1, 0] = -expected[:, 1], expected[:, 0]
        H[:, 3 + _AXES, _B] = 1.0
        vertical = np.outer(up, up) / (up @ up) if up @ up > _ABOUT**2 else np.eye(3)
        PHt = P @ H.transpose(0, 2, 1)
        S = H @ PHt
        S[:, _AXES, _AXES] += self.model.noise**2
        S[:, 3:, 3:] += self.model.level**2 * (np.eye(3) - vertical) + _BLIND**2 * vertical
        inverse = np.linalg.inv(S)
        surprise = np.concatenate((seen - expected, -x[:, _B]), axis=1)
        self._odds = self._odds - 0.5 * np.einsum("ki,kij,kj->k", surprise, inverse, surprise) - 0.5 * np.log(np.linalg.det(S))
        gain = PHt @ inverse
        self._x = x + np.einsum("kij,kj->ki", gain, surprise)
        P = P - gain @ PHt.transpose(0, 2, 1)
        self._P = 0.5 * (P + P.transpose(0, 2, 1))

    def _reduce(self) -> None:
        """Keep the likeliest stories of each mode; those that say the same are one."""
        x, mode, odds = self._x, self._mode, self._odds - self._odds.max()
        spread = np.sqrt(self._P[:, range(_STATES), range(_STATES)]) + 1e-9
        of_bias = spread[:, _B].sum(axis=1)
        kept: list[int] = []
        room = dict(_MOST)
        for i in np.argsort(-odds).tolist():
            if odds[i] < -_FORGOTTEN:
                break
            for j in kept:
                same = mode[i] == mode[j] and 0.6 < spread[i, 0] / spread[j, 0] < 1.6 and 0.6 < of_bias[i] / of_bias[j] < 1.6
                if same and np.abs((x[i] - x[j]) / spread[j]).max() < _ALIKE:
                    odds[j] = np.logaddexp(odds[i], odds[j])
                    break
            else:
                if room[int(mode[i])]:
                    room[int(mode[i])] -= 1
                    kept.append(i)
        self._x, self._P, self._mode, self._odds = x[kept], self._P[kept], mode[kept], odds[kept] - odds[kept].max()

    def _conclude(self, field: Array) -> None:
        """Mean and variance over the stories; what the others are told."""
        weight = np.exp(self._odds)
        weight /= weight.sum()
        first = float(self._x[0, 0])
        apart = (self._x[:, 0] - first + math.pi) % (2 * math.pi) - math.pi
        mean = float(weight @ apart)
        self.drift = first + mean
        self.variance = float(weight @ (self._P[:, 0, 0] + (apart - mean) ** 2))
        self.clean = float(weight[self._mode == EARTH].sum())
        c, s = math.cos(self.drift), math.sin(self.drift)
        felt = np.array((c * field[0] + s * field[1], -s * field[0] + c * field[1], field[2])) - weight @ self._x[:, _E]
        if self.clean > 0.8:  # its east is not asked: the drift follows that
            unrest, within = float(felt[1:] @ felt[1:]) / 2 / (self.model.ambient**2 + self.model.noise**2), self.model.calm_s
        else:
            unrest, within = 1.0, self.model.forget_s
        self._unrest += PERIOD_S / within * (min(unrest, 2.0) - self._unrest)
        if self._common is not None:
            self._common.tell(self, felt if self.clean > 0.8 else None)
