"""Estimate the heading drift between the sensors from body constraints, and remove it.

Gyroscopes drift about the vertical and magnetometers are disturbed, so that the headings of four
sensors diverge within minutes. The body constrains them: the trunk twists back and forth around
zero; hanging forearms keep their rotation about their own axis; working forearms point, on average,
in the wearer's usual direction. Each of these is a weak measurement of a site's drift relative to
the waist, with a mean that is learned from the wearer while the calibration is fresh. A Kalman
filter weighs them against the expected gyroscope drift. An unexpected posture is downweighted
(Huber) but not rejected: otherwise a mean that began with an unusual posture would reject all later
ones. The heading of the whole body in the world is odometry and is not corrected.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.frames import ImuFrame
from pallas_ros.body.names import SITES
from pallas_ros.body.rotations import Array

NANOSECONDS = 1_000_000_000
_EVERY_S = 0.5
_FASTEST = 0.04  # rad/s: limits the correction, so that it never appears as movement
_WORTH_TELLING = float(np.radians(20.0))
_MISSED_S = 5.0  # after a silence this long the filter increases its uncertainty only once

_DRIFT, _RATE, _TRUNK_OR_WORK, _HANGING = range(4)


@dataclass(frozen=True, slots=True)
class DriftModel:
    """Parameters of the drift model; rad and s.

    Attributes:
        walk: rad/sqrt(s), random walk of the drift.
        rate: rad/s, standard deviation of the drift rate caused by gyroscope bias.
        rate_s: s, how long such a rate lasts until the orientation filter has learned the bias.
        fresh: rad, standard deviation of a heading just calibrated.
        trunk: rad, standard deviation of the twist between waist and neck; its mean is known to
            `trunk_mean`.
        arm: rad, spread of a working forearm's direction relative to the trunk; its mean is
            initially uncertain by `arm_mean`.
        hanging: rad, spread of a hanging forearm's rotation about its axis; its mean is initially
            uncertain by `hanging_mean`.
        correlation_s: s, duration of a posture: samples closer than this add little information.
    """

    walk: float = float(np.radians(0.06))
    rate: float = float(np.radians(1.0 / 60))
    rate_s: float = 30.0
    fresh: float = float(np.radians(2.0))
    trunk: float = float(np.radians(10.0))
    trunk_mean: float = float(np.radians(3.0))
    arm: float = float(np.radians(40.0))
    arm_mean: float = float(np.radians(60.0))
    hanging: float = float(np.radians(10.0))
    hanging_mean: float = float(np.radians(25.0))
    correlation_s: float = 3.0

    @classmethod
    def of(cls, degrees_per_minute: float) -> "DriftModel":
        """Return a model for sensors whose headings drift this fast.

        A model that expects more drift attributes more of the wearer's habits to drift.
        """
        rate = degrees_per_minute / 60
        return cls(walk=float(np.radians(0.05 + 0.8 * rate)), rate=float(np.radians(rate)))


@dataclass(slots=True)
class _Site:
    """Kalman state of one site.

    The state is drift, drift rate, and the wearer's mean at work (of the neck: twist) and hanging.
    """

    mean: Array
    covariance: Array
    shown: float = 0.0


class HeadingDrift:
    """Remove the heading drift from synchronised frames and report its size."""

    def __init__(self, model: DriftModel | None = None) -> None:
        self.model = model or DriftModel()
        self._corrected: tuple[float, ...] = ()
        self._turn: Array = np.zeros((0, 4))  # of the frames corrected by `_corrected`
        self.reset()

    def reset(self) -> None:
        """Reset after a calibration: no drift yet, and the wearer's habits are unknown."""
        m = self.model
        self._next = 0
        self._last = 0
        self._sites: dict[str, _Site] = {}
        for site in SITES[1:]:
            spread = (
                m.fresh,
                m.rate,
                *((m.trunk_mean, 1e-6) if site == "neck" else (m.arm_mean, m.hanging_mean)),
            )
            self._sites[site] = _Site(np.zeros(4), np.diag(np.square(spread)))

    def forget(self, sites: Iterable[str]) -> None:
        """Reset the drift of ``sites``, whose headings were corrected.

        All drifts are relative to the waist, so resetting the waist affects all.
        """
        turned = set(sites)
        for site, state in self._sites.items():
            if site in turned or "pelvis" in turned:
                state.mean[_DRIFT] = state.shown = 0.0
                state.covariance[_DRIFT, :] = state.covariance[:, _DRIFT] = 0.0
                state.covariance[_DRIFT, _DRIFT] = self.model.fresh**2

    @property
    def drift(self) -> dict[str, float]:
        """Estimated drift of each site's heading relative to the waist, rad.

        Corrections have the opposite sign.
        """
        return {
            "pelvis": 0.0,
            **{site: float(state.mean[_DRIFT]) for site, state in self._sites.items()},
        }

    def correct(self, frame: ImuFrame) -> ImuFrame:
        """Remove the drift from a synchronised frame; ``heading_drift`` is the amount removed.

        Frames must be in order of time.
        """
        if frame.stamp >= self._next or frame.stamp < self._last:
            self._step(frame)
        correction = (0.0, *(-state.shown for state in self._sites.values()))
        if not any(correction):
            return frame
        if correction != self._corrected:  # it changes with `_step`, not with every frame
            self._corrected = correction
            self._turn = rotations.about_z(np.array(correction))
        turn = self._turn
        return replace(
            frame,
            orientation=np.asarray(rotations.multiply(turn, frame.orientation), np.float64),
            acceleration=np.asarray(rotations.rotate(turn, frame.acceleration), np.float64),
            heading_drift=np.array(correction),
        )

    def remarks(self) -> list[str]:
        """Sentences about notable drifts."""
        far = {
            site: np.degrees(drift)
            for site, drift in self.drift.items()
            if abs(drift) > _WORTH_TELLING
        }
        return [
            f"{site} has drifted by {degrees:.0f} degrees in heading: calibrate again soon"
            for site, degrees in far.items()
        ]

    def _step(self, frame: ImuFrame) -> None:
        elapsed = (
            min(max((frame.stamp - self._last) / NANOSECONDS, 0.0), _MISSED_S)
            if self._last
            else 0.0
        )
        self._last = frame.stamp
        self._next = frame.stamp + round(_EVERY_S * NANOSECONDS)
        q_world_bone = dict(zip(SITES, frame.orientation, strict=True))
        valid = dict(zip(SITES, frame.valid.tolist(), strict=True))
        torso = float(rotations.heading(q_world_bone["pelvis"]))
        for site, state in self._sites.items():
            self._predict(state, elapsed)
            if valid[site] and valid["pelvis"]:
                self._measure(site, state, q_world_bone[site], torso)
            if site == "neck" and valid[site]:  # the arms hang from the upper trunk
                torso = float(rotations.heading(q_world_bone[site])) - float(state.mean[_DRIFT])
            state.shown += float(
                np.clip(state.mean[_DRIFT] - state.shown, -_FASTEST * elapsed, _FASTEST * elapsed)
            )

    def _predict(self, state: _Site, elapsed: float) -> None:
        m = self.model
        keep = float(np.exp(-elapsed / m.rate_s))
        transition = np.eye(4)
        transition[_DRIFT, _RATE] = elapsed
        transition[_RATE, _RATE] = keep
        state.mean = transition @ state.mean
        state.covariance = transition @ state.covariance @ transition.T
        state.covariance[_DRIFT, _DRIFT] += m.walk**2 * elapsed
        state.covariance[_RATE, _RATE] += m.rate**2 * (1 - keep**2)

    def _measure(self, site: str, state: _Site, q_world_bone: Array, torso: float) -> None:
        m = self.model
        which = _TRUNK_OR_WORK
        spread = m.trunk if site == "neck" else m.arm
        if site == "neck":
            angle = float(rotations.heading(q_world_bone)) - torso
        else:
            along = rotations.to_matrix(q_world_bone)[:, 1] * (
                1.0 if site == "left_wrist" else -1.0
            )
            if along[2] < -0.85:  # hanging: use the palm's side, not the pointing direction
                which = _HANGING
                spread = m.hanging
                hang = rotations.from_rotvec(
                    np.array([-np.pi / 2 if site == "left_wrist" else np.pi / 2, 0.0, 0.0])
                )
                angle = (
                    float(
                        rotations.heading(rotations.multiply(q_world_bone, rotations.inverse(hang)))
                    )
                    - torso
                )
            elif abs(along[2]) < 0.85:
                angle = float(np.arctan2(along[1], along[0])) - torso
            else:
                return
        row = np.zeros(4)
        row[_DRIFT] = row[which] = 1.0
        surprise = (angle - row @ state.mean + np.pi) % (2 * np.pi) - np.pi
        noise = spread**2 * max(m.correlation_s / _EVERY_S, 1.0)
        known = float(row @ state.covariance @ row)
        noise *= max(abs(surprise) / np.sqrt(known + spread**2), 1.0)  # Huber's weight
        gain = state.covariance @ row / (known + noise)
        state.mean = state.mean + gain * surprise
        state.covariance = state.covariance - np.outer(gain, row @ state.covariance)
