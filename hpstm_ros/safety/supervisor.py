"""Decides on every command: a state machine, its watchdogs, and a command stream that can always
stop.

    disengaged ──engage──▶ aligning ──arrived──▶ tracking
        ▲  ▲                  ▲  │ trouble          │ trouble (no measurement, no feedback, dead-man released,
        │  │                  │  │                  │          not following, commands late, unsure)
        │  └──disengage───┐   │  ▼                  ▼
        │                 └── holding ◀─────────────┘        trouble over: back to aligning
      reset                      │ does not follow for long
        │                        ▼
     stopped (latched) ◀── emergency stop, from every state

Engaging locks the operator: from then on bodies with other ids are ignored, and losing the
operator's body is loss of input. If the operator stays away, the arm is disengaged. The deadline is
on the newest *measurement* in a body, not on the body itself: a repeated body with new stamps does
not reset it.

Commands lie on a grid of instants. Each tick plans one grid step and the stop after it
(`motion.Plan`), and the plan is accepted only if all of it is within every limit
(`steering.Steering`). If no plan is accepted, and in every state except aligning and tracking, the
last accepted plan is followed: it brakes. Every command to the controller includes the stop, so the
arm comes to rest even if this process dies.
"""  # noqa: E501

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.safety.command import Command as Command
from hpstm_ros.safety.command import SupervisorState as SupervisorState
from hpstm_ros.safety.command import nothing, sent_indices
from hpstm_ros.safety.delivery import Delivery
from hpstm_ros.safety.feedback import Feedback
from hpstm_ros.safety.guard import Guard
from hpstm_ros.safety.limits import Limits, SupervisorSettings
from hpstm_ros.safety.motion import Plan, rest
from hpstm_ros.safety.operator_input import OperatorInput
from hpstm_ros.safety.steering import Steering
from hpstm_ros.safety.switches import DeadManSwitches, EmergencySwitches
from pallas_ros.body.errors import PallasError
from pallas_ros.core.errors import echoed

F64 = NDArray[np.float64]

_NS = 1_000_000_000
_NEVER = -(10**18)
_GOAL_REACH = 0.025  # s: how long a goal is extrapolated when the next one is late
_FOLLOW_S = 0.1  # allowed lag of an arm behind its commands, from the controller's filter
_LATE_NS = _NS // 2  # how long the arm holds after late commands


class Supervisor:
    """See the module. Times are ns of one clock; the supervisor recovers if the clock jumps.

    No method raises on bad input.
    """

    def __init__(
        self, limits: Limits, settings: SupervisorSettings | None = None, guard: Guard | None = None
    ) -> None:
        """Start disengaged, with the arm's posture unknown. Without a ``guard``, only joint limits
        are enforced.
        """
        self.limits = limits
        self.settings = settings or SupervisorSettings()
        self._guard = guard
        self._steering = Steering(limits, self.settings, guard)
        self.state = SupervisorState.DISENGAGED
        self.reason = "not engaged yet"
        self.refused = 0
        self._period = round(self.settings.period * _NS)
        self._zero_time: int | None = None
        self._now = 0
        self._plan: Plan | None = None
        self._sent: deque[tuple[int, F64]] = deque(maxlen=64)
        self._input = OperatorInput(limits, self.settings)
        self._feedback = Feedback(limits, self.settings)
        self._delivery = Delivery(self.settings.period, self.settings.delivery_timeout)
        self._late: tuple[int, str] = (_NEVER, "")
        self._ticked: int | None = None
        self._dead_man = DeadManSwitches(self.settings)
        self._switches = EmergencySwitches(self.settings)
        self._faults: dict[str, str] = {}
        self._aligning_since = 0
        self._well_since = _NEVER
        self._operator_seen = 0
        self.operator: str | None = None
        self.engagement = 0

    @property
    def tip_speed(self) -> float:
        """Speed limit of every tip in m/s; may be changed at run time.

        Raises:
            PallasError: on assignment, if the value is not positive and finite.
        """
        return self._steering.tip_speed

    @tip_speed.setter
    def tip_speed(self, speed: float) -> None:
        if not 0 < speed < math.inf:
            raise PallasError(f"tip_speed is {speed}, but must be above 0 m/s")
        self._steering.tip_speed = speed

    # Inputs

    def goal(
        self,
        now: int,
        stamp: int,
        q: F64,
        confidence: float = 1.0,
        measured: int | None = None,
        operator: str = "",
    ) -> bool:
        """Set a goal for the joints; False if it is refused (not finite, not newer, too old, or not
        from the operator).

        Args:
            now: ns.
            stamp: ns, of the body.
            q: (n,) rad.
            confidence: 0 to 1.
            measured: ns, stamp of the newest measurement in the body; the body's stamp by default.
            operator: id of the body.
        """
        self._clock(now)
        measured = stamp if measured is None else measured
        q = np.asarray(q, dtype=np.float64)
        if not (
            self._is_operator(operator)
            and self._input.take(now, stamp, q, confidence, measured, operator)
        ):
            self.refused += 1
            return False
        if self._input.jumped and self.state is SupervisorState.TRACKING:
            self._align(now, "the goal jumped")
        self._operator_seen = now
        if self._engaged():
            self.operator = operator
        return True

    def status_text(self, now: int) -> str:
        """The reason for the state; while disengaged, also why bodies are refused."""
        refused = "" if self._engaged() else self._input.recent_refusal(now)
        return f"{self.reason}; {refused}" if refused else self.reason

    def _is_operator(self, name: str) -> bool:
        return not self._engaged() or self.operator is None or name == self.operator

    def measured(self, now: int, stamp: int, q: F64) -> bool:
        """Take the measured joints (n,) rad; False if they are refused (not finite, not newer)."""
        self._clock(now)
        q = np.asarray(q, dtype=np.float64)
        if not self._feedback.admits(now, stamp, q):
            self.refused += 1
            return False
        if self._plan is not None and not self._at_rest_disengaged():
            q = self.limits.same_turn(q, self._plan.at(self._plan.start + 1)[0])
        self._feedback.take(now, stamp, q)
        if self.state is not SupervisorState.DISENGAGED and self._sent:
            self._feedback.compare(now, q, self._commanded(stamp))
        if self._engaged() and self._delivery.measured(stamp, q):
            self._late = (now, f"commands take effect {self._delivery.lag:.2f} s late")
        return True

    def dead_man(self, now: int, pressed: bool, source: str = "") -> None:
        """Take the state of the dead-man switch ``source``. With several switches, all must be
        held, and one that falls silent counts as released until the arm is engaged again.
        """
        self._clock(now)
        if not self._engaged():
            self._dead_man.forget_silent(now)
        self._dead_man.report(now, pressed, source)

    def sent(self, now: int) -> None:
        """Report that the last tick's command was handed to the middleware; the time that took is
        monitored.
        """
        if self._ticked is not None and now - self._ticked > self.settings.hand_over * _NS:
            seconds = (now - self._ticked) / _NS
            self._late = (now, f"a command was sent {seconds:.2f} s late")

    def fault(self, name: str, sentence: str) -> None:
        """Set the fault of the connection ``name``, or clear it with an empty sentence. With a
        fault, the arm is not engaged and does not move.
        """
        if sentence:
            self._faults[name] = sentence
        else:
            self._faults.pop(name, None)

    def engage(self, now: int) -> str:
        """Engage the arm; returns the reason if that is refused, else an empty string."""
        self._clock(now)
        if self.state is not SupervisorState.DISENGAGED:
            return f"cannot engage while {self.state.name.lower()}" + (
                ": reset first" if self.state is SupervisorState.STOPPED else ""
            )
        if wrong := self._switches.missing(now) or next(iter(self._faults.values()), ""):
            return f"cannot engage: {wrong}"
        measured = self._feedback.newest
        if measured is None or self._feedback.missing(now):
            return "cannot engage: the arm's joint states do not arrive"
        if self._moving():
            return "cannot engage: the arm is still coming to rest"
        if unrest := self._feedback.unrest(now):
            return f"cannot engage: {unrest}"
        q = self.limits.inside(measured.q)
        if refusal := self._posture_refused(q):
            return f"cannot engage: {refusal}"
        self._plan = rest(self._index(now), q)
        self._sent.clear()
        self._delivery.forget()
        self._late = (_NEVER, "")
        self._feedback.follow_again()
        self._dead_man.forget_silent(now)
        self.engagement += 1
        self._operator_seen = now
        followed = self._input.goal is not None and not self._body_missing(now)
        self.operator = self._input.operator if followed else None
        self._align(now, "engaged")
        return ""

    def _posture_refused(self, q: F64) -> str:
        """Why the arm must not be engaged in the posture ``q`` (n,) rad, or empty."""
        if self._guard is None:
            return ""
        speed, _, pair = self._guard.look(q, np.zeros_like(q))
        if not speed <= self.limits.tip_speed:
            return "the position of the tip cannot be computed; check the robot's description"
        return f"{pair} are too close; move the arm by hand" if pair else ""

    def disengage(self, now: int) -> None:
        """Brake, then stop commanding the arm. A latched stop stays latched."""
        if self.state is not SupervisorState.STOPPED:
            self._enter(SupervisorState.DISENGAGED, "disengaged")

    def emergency_stop(self, now: int, why: str, held: bool = True, source: str = "") -> None:
        """Latch a stop. If it is ``held`` by a switch, its ``source`` must be released
        (`emergency_released`) before a reset.
        """
        if held:
            self._switches.press(now, source)
        self._enter(SupervisorState.STOPPED, f"emergency stop: {why}")

    def emergency_released(self, now: int, source: str = "") -> None:
        """The emergency-stop switch ``source`` is released; the stop stays latched until `reset`.

        Releasing one switch does not release another that is pressed, unless the other is no longer
        connected.
        """
        self._switches.release(now, source)

    def emergency_switches(self, now: int, sources: set[str]) -> None:
        """Set which emergency-stop switches are connected. Unless they are optional, one that was
        connected must stay.
        """
        self._switches.connected(now, sources)

    def reset(self, now: int) -> str:
        """Unlatch a stop, and go on without switches that are gone; returns the reason if that is
        refused, else an empty string.
        """
        if self.state is not SupervisorState.STOPPED and not self._switches.lost(now):
            return "nothing to reset: the arm is not stopped"
        if self._switches.pressed:
            return "cannot reset: the emergency stop is still pressed"
        if self._moving():
            return "cannot reset: the arm is still coming to rest"
        self._switches.forget_gone(now)
        if lost := self._switches.lost(now):
            return f"cannot reset: {lost}"
        self._enter(SupervisorState.DISENGAGED, "reset; engage to move")
        return ""

    def posture(self) -> F64 | None:
        """The commanded joints at the next instant, (n,) rad, or None while the arm's posture is
        unknown.
        """
        return None if self._plan is None else self._plan.at(self._plan.start + 1)[0]

    def flags(self, now: int) -> tuple[bool, bool, bool]:
        """Whether the arm is engaged, the dead-man switch held, the emergency stop pressed."""
        return (
            self._engaged(),
            not self._dead_man.wrong(now),
            self._switches.pressed,
        )

    def _at_rest_disengaged(self) -> bool:
        """Whether the measured posture is used, rather than the commanded one."""
        return self.state is SupervisorState.DISENGAGED and not self._moving()

    def _engaged(self) -> bool:
        return self.state not in (SupervisorState.DISENGAGED, SupervisorState.STOPPED)

    # Tick

    def tick(self, now: int) -> Command:
        """The next command; call every period, and immediately after a goal arrives."""
        self._clock(now)
        self._watch(now)
        self._ticked = now
        index = self._index(now)
        if self._at_rest_disengaged() and self._feedback.newest is not None:
            self._plan = rest(index, self.limits.inside(self._feedback.newest.q))
        if self._plan is None:
            return nothing(now, len(self.limits.lower), self.state, self.status_text(now))
        self._record(index)
        limited, scale = self._lead(index, now)
        return self._command(index, limited, scale)

    def _clock(self, now: int) -> None:
        """Keep the grid when the clock is set back, and discard inputs from before."""
        if self._zero_time is None:
            self._zero_time = now
            self._now = now
        if now < self._now:
            self._zero_time += now - self._now
            self._input.clock_set_back()
            self._dead_man.restart()
            self._operator_seen = now
            self._switches.restart()
            self._late = (_NEVER, "")
            self._ticked = None
            self._delivery.forget()
            self._feedback.restart(now)
            self._well_since = now
            self._aligning_since = min(self._aligning_since, now)
        elif now - self._now > self.settings.command_gap * _NS:
            # no ticks ran in this gap, so it does not count as absence
            self._operator_seen += now - self._now
        self._now = now

    def _watch(self, now: int) -> None:
        """Check the watchdogs and make the transitions that they require."""
        if not self._engaged():
            return
        if switch := self._switches.missing(now):
            self._enter(SupervisorState.STOPPED, f"emergency stop: {switch}")
            return
        if now - self._operator_seen > self.settings.operator_absence * _NS:
            name = echoed(self.operator or "")
            who = f"operator '{name}' was not seen" if name else "nobody was seen"
            away = f"{who} for {self.settings.operator_absence:g} s; engage again"
            self._enter(SupervisorState.DISENGAGED, away)
            return
        trouble = self._trouble(now)
        if trouble:
            self._well_since = now
            if self.state is not SupervisorState.HOLDING or self.reason != trouble:
                self._enter(SupervisorState.HOLDING, trouble)
            if self._feedback.deviates_for(now, self.settings.deviation_latch):
                self._enter(SupervisorState.STOPPED, f"{trouble}; find the cause, then reset")
        elif (
            self.state is SupervisorState.HOLDING
            and now - self._well_since >= self.settings.resume_after * _NS
        ):
            self._align(now, "resuming")
        elif (
            self.state is SupervisorState.ALIGNING
            and self._input.goal is not None
            and self._plan is not None
        ):
            off = float(np.abs(self._input.goal.q - self._plan.at(self._plan.start + 1)[0]).max())
            if (
                off < self.settings.align_tolerance
                or now - self._aligning_since > self.settings.align_ramp * _NS
            ):
                self._enter(SupervisorState.TRACKING, "following the operator")

    def _trouble(self, now: int) -> str:
        """Why the arm must not move now, or empty."""
        settings = self.settings
        goal = self._input.goal
        if settings.require_dead_man and (released := self._dead_man.wrong(now)):
            return released
        if self._faults:
            return next(iter(self._faults.values()))
        if missing := self._body_missing(now):
            return missing
        if goal is None or not goal.confidence >= settings.min_confidence:
            return "the body is too uncertain"
        if self._ticked is not None and now - self._ticked > settings.command_gap * _NS:
            self._late = (now, f"no command was sent for {(now - self._ticked) / _NS:.2f} s")
        if now - self._late[0] < _LATE_NS:
            return self._late[1]
        if self._feedback.missing(now):
            return "no joint states arrive"
        if self._feedback.deviates_for(now, settings.deviation_grace):
            return "the arm does not follow"
        return ""

    def _body_missing(self, now: int) -> str:
        """What is wrong with the operator's body as an input, or empty."""
        return self._input.missing(now, self.operator if self._engaged() else None)

    def _lead(self, index: int, now: int) -> tuple[tuple[str, ...], float]:
        """Accept a new plan from ``index`` if there is one; returns the limits that were active and
        the speed scale.
        """
        goal = self._input.goal
        settings = self.settings
        if (
            self.state not in (SupervisorState.ALIGNING, SupervisorState.TRACKING)
            or goal is None
            or self._plan is None
        ):
            return (), 0.0
        reasons: list[str] = []
        scale = min(
            (goal.confidence - settings.min_confidence)
            / (settings.full_confidence - settings.min_confidence),
            1.0,
        )
        if scale < 1.0:
            reasons.append("confidence")
        if self.state is SupervisorState.ALIGNING:
            progress = min((now - self._aligning_since) / _NS / settings.align_ramp, 1.0)
            scale *= settings.align_speed + (1.0 - settings.align_speed) * max(progress, 0.0)
            reasons.append("aligning")
        ahead = min(max((self._time(index + 1) - goal.received) / _NS, 0.0), _GOAL_REACH)
        plan, limited, scale = self._steering.lead(
            index, self._plan, *goal.after(ahead + settings.look_ahead), scale
        )
        self._plan = plan or self._plan
        return (*reasons, *limited), scale

    # Bookkeeping

    def _index(self, now: int) -> int:
        """The first grid index whose command can still be changed."""
        assert self._zero_time is not None
        return -((self._zero_time - now - round(self.settings.lead * _NS)) // self._period)

    def _time(self, index: int) -> int:
        assert self._zero_time is not None
        return self._zero_time + index * self._period

    def _moving(self) -> bool:
        """Whether the accepted plan is not at rest yet, as of the last call."""
        return self._plan is not None and self._index(self._now) < self._plan.end

    def _record(self, index: int) -> None:
        """Remember the commands of past instants, to compare measurements with them."""
        assert self._plan is not None
        last = self._sent[-1][0] if self._sent else index - 1
        for passed in range(max(last + 1, index - 63), index + 1):
            q = self._plan.at(passed)[0]
            self._sent.append((passed, q))
            self._delivery.sent(self._time(passed), q)

    def _commanded(self, stamp: int) -> F64:
        """Commanded positions (k, n) rad at a stamp and up to `_FOLLOW_S` before it."""
        at = self._index(stamp)
        since = at - _FOLLOW_S / self.settings.period
        return np.array(
            [sent for index, sent in self._sent if since <= index <= at + 1] or [self._sent[-1][1]]
        )

    def _align(self, now: int, why: str) -> None:
        self._aligning_since = now
        self._enter(SupervisorState.ALIGNING, why)

    def _enter(self, state: SupervisorState, reason: str) -> None:
        self.state = state
        self.reason = reason
        if not self._engaged():
            self.operator = None

    def _command(self, index: int, limited: tuple[str, ...], scale: float) -> Command:
        plan = self._plan
        assert plan is not None
        indices = sent_indices(index, plan.end)
        points = [plan.at(i) for i in indices]
        q, dq, ddq = points[1]
        return Command(
            time=self._time(index + 1),
            q=q,
            dq=dq,
            ddq=ddq,
            times=np.array([self._time(i) for i in indices], dtype=np.int64),
            points=points,
            send=index < plan.end
            or self.state not in (SupervisorState.DISENGAGED, SupervisorState.STOPPED),
            state=self.state,
            reason=self.status_text(self._now),
            limited_by=limited,
            speed_scale=scale,
            tip_speed=self._guard.tip_speed(q, dq) if self._guard is not None else math.nan,
            deviation=self._feedback.deviation,
            measurement_age=self._input.measurement_age(self._now),
            delivery_lag=self._delivery.lag,
        )
