"""Heading drift and gyroscope bias from magnetometers that are sometimes near steel.

The field measured by a sensor, in the frame of its six-axis orientation, is ``f = Rz(d) (e + a +
s)``: `d` the unknown drift, `e` the earth's field, `a` the field of the surroundings, which varies
as the wearer walks, `s` the field of steel. A Kalman filter estimates ``x = (d, b, a, s, e, l)``,
b being the gyroscope bias not found by the six-axis filter, with ``d' = up . b``. The disturbance
is part of the state (Sabatini 2012, "Variable-state-dimension Kalman-based filter for orientation
determination", Sensors 12(7)), so that near steel, where the field gives no heading, it still
determines the drift rate (Munoz Diaz et al. 2017, "Use of the magnetic field for improving
gyroscopes' biases estimation", Sensors 17(4)).

The times at which steel appears or a bias steps are unknown. Therefore several such filters run in
parallel, each with a different hypothesis, weighted by the measured field (multiple hypotheses;
Bar-Shalom, Li, Kirubarajan 2001, chapter 11)::

    EARTH -> EARTH | MOVING        s = 0
    MOVING -> MOVING | STEADY | EARTH    s changes fast: steel comes or goes, field uninformative
    STEADY -> STEADY | MOVING      s nearly constant: no heading, but bias observable

In EARTH and STEADY the bias may also step. A sudden change of the field is steel; one as slow as
gyroscope drift is drift. A change that is ambiguous at first is resolved when a hypothesis fails.
Likely hypotheses are kept; the others and duplicates are pruned.

Two measurements besides the field determine the bias. Gravity: a bias about a horizontal axis tilts
the six-axis frame, and the accelerometer corrects it at a rate l that follows the bias with a lag,
``l' = (b - l) / level_s``. That rate is measured. While the frame is tilted, by ``level_s l``, a
field with a dip of 60 degrees appears rotated sideways by 1.7 times as much, which is not drift.
Gravity thus reveals a bias step within seconds, and the field then its vertical component; for a
sensor that is turned over, such as a wrist's, the whole bias is soon known. Rest: a gyroscope whose
rate stays small and constant for more than a second is not rotating, and its rate is its bias
(zero-angular-rate update).

The variation of the ambient field is learned online: in calm surroundings, less of the change is
attributed to it.
"""

import math

import numpy as np

from pallas_ros.body.rotations import Array
from pallas_ros.imu.field_model import CommonField, FieldModel

PERIOD_S = 0.5
"""The field is averaged over this period; the filter needs no higher rate."""

EARTH, MOVING, STEADY = range(3)
# d is state 0
_B = slice(1, 4)
_A = slice(4, 7)
_S = slice(7, 10)
_E = slice(10, 13)
_L = slice(13, 15)
_LX = 13
_LY = 14
_STATES = 15
_EACH = np.arange(_STATES)
# field measurement matrix, except for the part that depends on the hypothesis
_FIELD = np.zeros((6, _STATES))
_FIELD[:3, _A] = _FIELD[:3, _S] = _FIELD[:3, _E] = np.eye(3)
_LEVEL: Array = np.zeros(2)  # no correction by gravity
_MOST = {EARTH: 8, MOVING: 4, STEADY: 8}
_FORGOTTEN = 11.0  # pruning threshold: log odds against the most likely hypothesis
_BRANCHING = 4.6  # worse hypotheses do not branch into a bias step
_ALIKE = 0.7  # standard deviations: closer hypotheses are merged
_STILL_FOR = 3  # periods in which the mean rate is nearly constant: rest
_SLOW = 0.02  # rad/s: a rate above the bias by more than this is not rest
_SETTING_RIGHT = (
    0.05  # rad/s: faster than any bias requires; the six-axis frame is new, or samples were lost
)


class MagneticHeading:
    """Estimate the heading drift of one sensor's six-axis orientation; see the module.

    Attributes:
        drift: rad, heading of the six-axis orientation minus the true one (x east, y magnetic
            north); 0 until a field is measured.
        variance: rad^2, of the change of `drift` since the start.
        clean: probability that no steel is near.
    """

    def __init__(self, model: FieldModel | None = None, common: CommonField | None = None) -> None:
        """``common`` is shared with the other sensors of the same wearer."""
        self.model = model or FieldModel()
        self.drift = 0.0
        self.variance = 0.0
        self.clean = 1.0
        self._common = common
        self._ambient: Array | None = None  # as reported by the others
        self._bias: Array | None = None
        self._strength = 0.0
        self._rates: list[Array] = []  # of the most recent periods
        # variance of the ambient field, as a share of the model's
        self._unrest = self.model.fresh**2
        self._x: Array = np.zeros((1, _STATES))  # one row per hypothesis
        self._P: Array = np.zeros((1, _STATES, _STATES))
        self._mode = np.array([EARTH])
        self._odds: Array = np.zeros(1)

    @property
    def started(self) -> bool:
        """Whether a field has been measured."""
        return self._strength > 0.0

    def step(
        self,
        field: Array,
        axes: Array,
        bias: Array,
        levelled: Array = _LEVEL,
        rate: Array | None = None,
    ) -> float:
        """Process the mean field of one `PERIOD_S` and return `drift`.

        Args:
            field: (3,) in the frame of the six-axis orientation, z up; any unit.
            axes: (3, 3) rows x, y, z of that frame in the sensor frame; z is its mean over the
                period: rotation about it changes the heading.
            bias: (3,) rad/s, the gyroscope bias found by the six-axis filter, which no longer
                causes drift.
            levelled: (2,) rad/s, rate of the gravity correction of that frame about its x and y,
                with the sign of the causing bias.
            rate: (3,) rad/s, mean of the gyroscope, bias included; None if unknown, which disables
                rest detection.
        """
        found = np.zeros(3) if self._bias is None else bias - self._bias
        self._bias = bias.copy()
        evidence = self._evidence(bias, levelled, rate)
        strength = math.sqrt(float(field @ field))
        if not (strength > 0.0 and math.isfinite(strength)):
            return self.drift
        if not self._strength:
            self._begin(field, strength)
        else:
            was = self._branch()
            self._predict(was, axes, found)
            self._measure(field / self._strength, *evidence)
            self._reduce()
            self._conclude(field / self._strength)
        return self.drift

    def _evidence(
        self, bias: Array, levelled: Array, rate: Array | None
    ) -> tuple[Array, Array, float]:
        """Bias measurement from rest, or else from gravity.

        Returns the measurement (3,), its rows of H (3, states) and variance; a row of zeros carries
        no information.
        """
        evidence = np.zeros(3)
        rows = np.zeros((3, _STATES))
        if rate is not None:
            self._rates = [*self._rates[1 - _STILL_FOR :], rate]
            changed = np.abs(np.array(self._rates) - rate).max()
            if (
                len(self._rates) == _STILL_FOR
                and changed < self.model.still
                and np.abs(rate - bias).max() < _SLOW
            ):
                rows[:, _B] = np.eye(3)
                return rate - bias, rows, self.model.rest**2
        if np.abs(levelled).max() < _SETTING_RIGHT:
            evidence[:2] = levelled
            rows[:2, _L] = np.eye(2)
        return evidence, rows, self.model.level**2

    def _begin(self, field: Array, strength: float) -> None:
        """Take the current field direction as north, as uncertain as its surroundings make it.

        The drift is counted from here.
        """
        m = self.model
        self._strength = strength
        east, north, upward = (field / strength).tolist()
        self.drift = math.atan2(-east, north)
        self._x[0, 0] = self.drift
        self._x[0, _E] = (0.0, math.hypot(east, north), upward)
        P = self._P[0]
        ambient = (m.fresh * m.ambient) ** 2 * np.eye(3)
        P[_B, _B] = m.bias**2 * np.eye(3)
        P[_A, _A] = P[_E, _E] = ambient
        P[_A, _E] = P[_E, _A] = -ambient

    def _branch(self) -> Array:
        """Branch every hypothesis into its possible successors.

        Returns the previous mode of each; sets apart those with a bias step.
        """
        m = self.model
        meets, settles, leaves, steps = (
            PERIOD_S / s for s in (m.meets_s, m.settles_s, m.leaves_s, m.bias_step_s)
        )
        settles = 1 - math.exp(-settles)
        ways = {
            EARTH: (
                (EARTH, 1 - meets - steps, False),
                (MOVING, meets, False),
                (EARTH, steps, True),
            ),
            MOVING: (
                (MOVING, 1 - settles, False),
                (STEADY, settles / 2, False),
                (EARTH, settles / 2, False),
            ),
            STEADY: (
                (STEADY, 1 - leaves - steps, False),
                (MOVING, leaves, False),
                (STEADY, steps, True),
            ),
        }
        going = [
            (i, mode, self._odds[i] + math.log(chance), stepped)
            for i, before in enumerate(self._mode.tolist())
            for mode, chance, stepped in ways[before]
            if not stepped or self._odds[i] > -_BRANCHING
        ]
        source, mode, odds, stepped = (np.array(column) for column in zip(*going, strict=True))
        was = self._mode[source]
        self._mode = mode
        self._odds = odds
        self._x = self._x[source]
        self._P = self._P[source]
        self._P[:, _EACH[_B], _EACH[_B]] += np.where(stepped, m.bias_step**2, 0.0)[:, None]
        return np.asarray(was)

    def _predict(self, was: Array, axes: Array, found: Array) -> None:
        m = self.model
        x = self._x
        up = axes[2]
        level = axes[:2]
        before = self._ambient
        others = self._common.others(self) if self._common is not None else None
        self._ambient = None if others is None else m.shared * others
        x[:, _B] -= found
        x[:, 0] += PERIOD_S * (x[:, _B] @ up)
        keep = math.exp(-PERIOD_S / m.ambient_s)
        around = np.zeros(3) if self._ambient is None else self._ambient
        last = around if before is None else before
        if self._ambient is None:
            last = np.zeros(3)
        x[:, _A] = keep * (x[:, _A] - last) + around
        late = math.exp(-PERIOD_S / m.level_s)
        x[:, _L] = late * x[:, _L] + (1 - late) * x[:, _B] @ level.T
        F = np.eye(_STATES)
        F[0, _B] = PERIOD_S * up
        F[_A, _A] = keep * np.eye(3)
        F[_L, _L] = late * np.eye(2)
        F[_L, _B] = (1 - late) * level
        restless = min(max(math.sqrt(self._unrest), m.calmest), 1.0)
        spread = restless * (m.ambient if self._ambient is None else m.own)
        newly = (restless * m.ambient) ** 2 if self._ambient is not None and before is None else 0.0
        noise = np.zeros((len(x), _STATES))
        noise[:, 0] = m.walk**2 * PERIOD_S
        noise[:, _B] = m.bias_walk**2 * PERIOD_S
        noise[:, _E] = m.earth**2 * PERIOD_S
        noise[:, _A] = spread**2 * (1 - keep * keep) + newly
        noise[:, _S] = PERIOD_S * np.array([0.0, m.moving**2, m.steady**2])[self._mode][:, None]
        P = F @ self._P @ F.T
        away = (self._mode == EARTH) & (was != EARTH)
        x[away, _S] = P[away, _S] = P[away, :, _S] = 0.0
        P[:, _EACH, _EACH] += noise
        self._P = P

    def _measure(self, field: Array, evidence: Array, rows: Array, doubt: float) -> None:
        """Update all hypotheses with the field and the bias `_evidence`; reweight them."""
        x = self._x
        P = self._P
        c = np.cos(x[:, 0])
        s = np.sin(x[:, 0])
        seen = np.stack(
            (c * field[0] + s * field[1], -s * field[0] + c * field[1], np.full(len(x), field[2])),
            axis=1,
        )
        expected = x[:, _A] + x[:, _S] + x[:, _E]
        H = np.tile(_FIELD, (len(x), 1, 1))
        H[:, 0, 0] = -expected[:, 1]
        H[:, 1, 0] = expected[:, 0]
        # a frame tilted by `level_s` l rotates the field: lean x field, seen from the true heading
        east, north, upward = self.model.level_s * expected.T
        H[:, 0, _LX] = -s * upward
        H[:, 1, _LX] = -c * upward
        H[:, 2, _LX] = c * north + s * east
        H[:, 0, _LY] = c * upward
        H[:, 1, _LY] = -s * upward
        H[:, 2, _LY] = s * north - c * east
        H[:, 3:] = rows
        PHt = P @ H.transpose(0, 2, 1)
        S = H @ PHt
        S[:, _EACH[:6], _EACH[:6]] += np.repeat((self.model.noise**2, doubt), 3)
        inverse = np.linalg.inv(S)
        leaning = (H[:, :3, _L] @ x[:, _L, None])[:, :, 0]
        surprise = np.concatenate((seen - expected - leaning, evidence - x @ rows.T), axis=1)
        self._odds = (
            self._odds
            - 0.5 * np.einsum("ki,kij,kj->k", surprise, inverse, surprise)
            - 0.5 * np.log(np.linalg.det(S))
        )
        gain = PHt @ inverse
        self._x = x + np.einsum("kij,kj->ki", gain, surprise)
        P = P - gain @ PHt.transpose(0, 2, 1)
        self._P = 0.5 * (P + P.transpose(0, 2, 1))

    def _reduce(self) -> None:
        """Keep the most likely hypotheses of each mode and merge duplicates."""
        x = self._x
        mode = self._mode
        odds = self._odds - self._odds.max()
        spread = np.sqrt(self._P[:, _EACH, _EACH]) + 1e-9
        of_bias = spread[:, _B].sum(axis=1)
        kept: list[int] = []
        room = dict(_MOST)
        for i in np.argsort(-odds).tolist():
            if odds[i] < -_FORGOTTEN:
                break
            for j in kept:
                same = (
                    mode[i] == mode[j]
                    and 0.6 < spread[i, 0] / spread[j, 0] < 1.6
                    and 0.6 < of_bias[i] / of_bias[j] < 1.6
                )
                if same and np.abs((x[i] - x[j]) / spread[j]).max() < _ALIKE:
                    odds[j] = np.logaddexp(odds[i], odds[j])
                    break
            else:
                if room[int(mode[i])]:
                    room[int(mode[i])] -= 1
                    kept.append(i)
        self._x = x[kept]
        self._P = self._P[kept]
        self._mode = mode[kept]
        self._odds = odds[kept] - odds[kept].max()

    def _conclude(self, field: Array) -> None:
        """Compute mean and variance over the hypotheses and share the ambient field."""
        weight = np.exp(self._odds)
        weight /= weight.sum()
        first = float(self._x[0, 0])
        apart = (self._x[:, 0] - first + math.pi) % (2 * math.pi) - math.pi
        mean = float(weight @ apart)
        self.drift = first + mean
        self.variance = float(weight @ (self._P[:, 0, 0] + (apart - mean) ** 2))
        self.clean = float(weight[self._mode == EARTH].sum())
        c = math.cos(self.drift)
        s = math.sin(self.drift)
        felt = (
            np.array((c * field[0] + s * field[1], -s * field[0] + c * field[1], field[2]))
            - weight @ self._x[:, _E]
        )
        if self.clean > 0.8:  # its east component is not used: the drift follows it
            unrest = float(felt[1:] @ felt[1:]) / 2 / (self.model.ambient**2 + self.model.noise**2)
            within = self.model.calm_s
        else:
            unrest = 1.0
            within = self.model.forget_s
        self._unrest += PERIOD_S / within * (min(unrest, 2.0) - self._unrest)
        if self._common is not None:
            self._common.report(self, felt if self.clean > 0.8 else None)
