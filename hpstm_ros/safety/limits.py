"""Limits of the arm, shared by supervisor and checker."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]

REDUCED_SPEED = 0.25
"""m/s: reduced speed of ISO 10218-1, the default."""
EMERGENCY_STOP = ("optional", "connected", "heartbeat")
"""Requirements on the emergency-stop switch."""


@dataclass(frozen=True, eq=False)
class Limits:
    """Limits of ``n`` joints and of the tips.

    Attributes:
        joint_names: (n,).
        lower, upper: (n,) rad.
        velocity, acceleration, jerk: (n,) rad/s, rad/s^2, rad/s^3; in both directions.
        tip_speed: m/s, of every tip.
        box_min, box_max: (3,) m, workspace box of the tips in the base frame.
        continuous: (n,) continuous joints, whose angles are equal modulo a full turn. None: no
            joint is.
    """

    joint_names: tuple[str, ...]
    lower: F64
    upper: F64
    velocity: F64
    acceleration: F64
    jerk: F64
    tip_speed: float
    box_min: F64
    box_max: F64
    continuous: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Reject invalid limits."""
        n = len(self.joint_names)
        if self.continuous is None:
            object.__setattr__(self, "continuous", np.zeros(n, dtype=bool))
        for name in ("lower", "upper", "velocity", "acceleration", "jerk"):
            value = getattr(self, name)
            if value.shape != (n,) or not np.isfinite(value).all():
                raise PallasError(f"limit '{name}' must be {n} finite numbers")
        if (self.lower >= self.upper).any() or min(
            self.velocity.min(), self.acceleration.min(), self.jerk.min()
        ) <= 0:
            raise PallasError("limits must allow motion: lower below upper, the others above 0")
        if not 0 < self.tip_speed < np.inf or not (self.box_min < self.box_max).all():
            raise PallasError("the tip speed must be above 0 and the workspace box not empty")

    @cached_property
    def _turning(self) -> bool:
        """Whether any joint is continuous."""
        return bool(np.any(self.continuous))

    def same_turn(self, q: F64, reference: F64) -> F64:
        """Measured angles ``q`` (..., n), with continuous joints shifted by whole turns to be
        nearest to ``reference`` (n,).
        """
        if not self._turning:
            return np.array(q)
        turns = np.round((reference - q) / (2 * np.pi))
        return np.where(np.asarray(self.continuous), q + 2 * np.pi * turns, q)

    def inside(self, q: F64) -> F64:
        """The angles ``q`` (n,) moved into the limits: by whole turns for continuous joints if
        possible, else clamped.
        """
        outside = (q < self.lower) | (q > self.upper)
        middle = (self.lower + self.upper) / 2
        turned = np.where(outside, self.same_turn(q, middle), q)
        return np.minimum(np.maximum(turned, self.lower), self.upper)


@dataclass(frozen=True)
class SupervisorSettings:
    """Parameters of the supervisor; times in s, angles in rad.

    Attributes:
        period: between commands.
        lead: from now to the first point that can still be changed; the latency to the controller.
        body_timeout: time without a body with a newer measurement after which braking starts.
        max_measurement_age: age of the newest measurement in the body above which braking starts.
        max_body_age: maximum age of a body's stamp on arrival.
        feedback_timeout: time without joint states after which braking starts.
        require_feedback: whether joint states are required.
        require_dead_man: whether the arm moves only while the dead-man switch is held.
        dead_man_timeout: time without a message after which the switch counts as released.
        deviation: between measured and commanded joint position, above which the arm does not
            follow.
        deviation_grace: duration of a deviation after which braking starts.
        deviation_latch: duration of a deviation after which the stop is latched.
        resume_after: time without a fault after which a hold ends.
        min_confidence, full_confidence: confidence of a body below which the arm does not move, and
            from which it has full speed.
        align_speed: fraction of full speed at the start of aligning.
        align_ramp: time in which it rises to full speed.
        align_tolerance: joint error below which alignment is complete.
        operator_absence: absence of the operator after which the arm is disengaged.
        emergency_stop: requirement on the switches: ``optional``, none; ``connected``, one is
            connected and none leaves; ``heartbeat``, messages of each arrive. If it is not met, the
            arm cannot be engaged, and an engaged arm stops, latched.
        emergency_stop_timeout: time without a message after which the switch counts as silent.
        delivery_timeout: longest delay with which commands may take effect.
        hand_over: longest time from the tick until its command is sent.
        command_gap: between two ticks, above which commands are stale.
        goal_jump: between two goals, above which the arm aligns again.
        gain: 1/s, of the convergence to the goal; 1 to 40.
        look_ahead: prediction horizon for arm and goal, the time that a joint needs to change its
            speed; 0 to 0.1.
    """

    period: float = 0.008
    lead: float = 0.002
    body_timeout: float = 0.08
    max_measurement_age: float = 0.08
    max_body_age: float = 0.5
    feedback_timeout: float = 0.25
    require_feedback: bool = True
    require_dead_man: bool = True
    dead_man_timeout: float = 0.25
    deviation: float = 0.25
    deviation_grace: float = 0.1
    deviation_latch: float = 2.0
    resume_after: float = 0.25
    min_confidence: float = 0.1
    full_confidence: float = 0.5
    align_speed: float = 0.3
    align_ramp: float = 3.0
    align_tolerance: float = 0.05
    operator_absence: float = 10.0
    emergency_stop: str = "optional"
    emergency_stop_timeout: float = 0.5
    delivery_timeout: float = 0.1
    hand_over: float = 0.03
    command_gap: float = 0.1
    goal_jump: float = 0.5
    gain: float = 20.0
    look_ahead: float = 0.03

    def __post_init__(self) -> None:
        """Reject settings with which a watchdog would be too late or the arm would oscillate."""
        if self.emergency_stop not in EMERGENCY_STOP:
            raise PallasError(
                f"the supervisor's emergency_stop is {self.emergency_stop[:40]!r}, "
                f"but must be one of {', '.join(EMERGENCY_STOP)}"
            )
        if not 0.002 <= self.period <= 1 / 60 + 1e-9:
            raise PallasError(
                f"the supervisor's period is {self.period} s, but must be from 0.002 to 1/60 s (60"
                " to 500 Hz)"
            )
        if not self.period < self.body_timeout <= 0.1 - self.period:
            raise PallasError(
                f"body_timeout is {self.body_timeout} s, but must be short enough for the stop to"
                " begin within 0.1 s of the last body"
            )
        for name, lowest, highest in (
            ("gain", 1.0, 40.0),
            ("look_ahead", 0.0, 0.1),
            ("max_measurement_age", 0.03, 1.0),
            ("delivery_timeout", 0.02, 0.3),
        ):
            if not lowest <= getattr(self, name) <= highest:
                raise PallasError(
                    f"the supervisor's {name} is {getattr(self, name)}, but must be from {lowest}"
                    f" to {highest}"
                )
        for name, value in vars(self).items():
            if isinstance(value, float) and not 0 <= value < np.inf:
                raise PallasError(
                    f"the supervisor's {name} is {value}, but must be a number from 0"
                )


Settings = SupervisorSettings  # deprecated name, kept for one release
