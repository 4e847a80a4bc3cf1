"""The streaming smoother: returns smoothed bodies with a delay of exactly ``lookahead`` frames.

Frames are placed on a 60 Hz grid. A missing frame is a row of missing joints, so a 30 Hz camera or
a lost message is bridged without changing the time axis. A body that is not seen for up to
``bridge_s`` is extrapolated with growing covariance; after that it is reported lost.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.smoothing.bones import BoneEstimator, BoneLengths, PersonCheck
from hpstm_ros.smoothing.estimate import Estimate, KalmanMethod
from hpstm_ros.smoothing.filters import Kalman
from hpstm_ros.smoothing.network import HpstmNetwork, open_network
from hpstm_ros.smoothing.outlier_gate import Gate, GateSettings
from hpstm_ros.smoothing.posing import rotations_from_positions, with_lengths
from hpstm_ros.smoothing.unknown import UNKNOWN_M, at_rest, known_joints
from pallas_ros.body import kinematics
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINTS, MODEL_RATE_HZ
from pallas_ros.body.resources import resource
from pallas_ros.core.plugins import Plugins
from pallas_ros.files.parameters import described

F64 = NDArray[np.float64]

_PERIOD = 1e9 / MODEL_RATE_HZ
_WANDER_M_S = 0.5
"""Standard deviation of the velocity of a body that is held because it is not seen."""
_BACK_BELIEVED = 8
"""Number of consecutive out-of-order bodies, each newer than the last, after which their time is
accepted and the earlier time discarded.
"""
_FRESH_S = 2 / MODEL_RATE_HZ
_STALE_S = 0.1
"""The confidence of an unseen joint is `_GUESS` up to `_FRESH_S`, the frame interval of a slow
camera, and falls to 0 at `_STALE_S`, within which an arm must start to brake."""
_GUESS = 0.3  # confidence of an extrapolated joint
J = len(JOINTS)
_PARAMETERS = described("hpstm")


@dataclass(frozen=True)
class SmootherSettings:
    """Parameters of the smoother; `config/parameters/hpstm.yaml` has their defaults and ranges.

    Attributes:
        method: ``hpstm`` (network), ``kalman`` (classical), or ``bypass`` (bodies are unchanged;
            gaps are still bridged).
        lookahead: delay in frames, which is exactly the added latency.
        model: path of the network, absolute or relative to the package's share folder.
        backend: of `pallas_ros.runtime.open_stream`.
        trust_rotations: whether the bodies' orientations are measured (IMUs). If so, they determine
            the twist of each bone, and the swing is corrected to fit the smoothed positions.
            Otherwise, orientations are computed from the positions.
        least_confidence: joints with a lower confidence count as missing.
        bridge_s: maximum time for which an unseen body is extrapolated.
        estimate_bones_s: time over which bone lengths are averaged before they are fixed.
        bones: known bone lengths.
        gate: thresholds for failures of the pose estimator.
    """

    method: str = "hpstm"
    lookahead: int = _PARAMETERS["lookahead"].default
    model: str = _PARAMETERS["model"].default
    backend: str = _PARAMETERS["backend"].default
    trust_rotations: bool = _PARAMETERS["trust_rotations"].default
    least_confidence: float = _PARAMETERS["least_confidence"].default
    bridge_s: float = _PARAMETERS["bridge_s"].default
    estimate_bones_s: float = 3.0
    bones: BoneLengths | None = None
    gate: GateSettings = field(default_factory=GateSettings)

    def __post_init__(self) -> None:
        """Reject invalid settings."""
        SMOOTHERS.find(self.method)
        for name in ("lookahead", "backend", "least_confidence", "bridge_s"):
            _PARAMETERS[name].check(getattr(self, name))


class Method(Protocol):
    """Smooths positions; see `HpstmNetwork` and `KalmanMethod`."""

    lookahead: int

    def push(self, points: F64, bones: F64 | None) -> Estimate | None:
        """Take points (22, 3) m, NaN if not seen; returns the frame ``lookahead`` frames ago."""
        ...

    def reset(self) -> None:
        """Discard the history."""
        ...


MethodFactory = Callable[[SmootherSettings], Callable[[SmootherSettings], Method | None]]
"""Opens shared resources (a network) once; the result creates the method of each body.

With None instead of a method, positions are unchanged, and gaps are bridged.
"""

SMOOTHERS = Plugins[MethodFactory]("pallas.smoothers", "smoothing method")
"""Every installed smoothing method by name."""


def shared_method(settings: SmootherSettings) -> Callable[[SmootherSettings], Method | None]:
    """The factory of the method named in ``settings.method``, for each body."""
    return SMOOTHERS.find(settings.method)(settings)


def hpstm_method(settings: SmootherSettings) -> Callable[[SmootherSettings], Method | None]:
    """The network: opened once, its stream shared by all bodies."""
    stream = open_network(resource(Path(settings.model)), settings.backend)
    HpstmNetwork(stream, settings.lookahead)  # reports a wrong model at once, not at the first body
    return lambda s: HpstmNetwork(stream, s.lookahead)


def kalman_method(settings: SmootherSettings) -> Callable[[SmootherSettings], Method | None]:
    """The classical filter."""
    return lambda s: KalmanMethod(s.lookahead)


def bypass_method(settings: SmootherSettings) -> Callable[[SmootherSettings], Method | None]:
    """Unchanged positions."""
    return lambda _: None


class Smoother:
    """The smoother of one body.

    Args:
        settings: of the smoother.
        method: factory of the method, `shared_method` of the settings by default. Several bodies
            can share one.

    Attributes:
        bones: the operator's lengths once they are fixed, else None.
        counts: number of failures, by name.
    """

    def __init__(
        self,
        settings: SmootherSettings,
        method: Callable[[SmootherSettings], Method | None] | None = None,
    ) -> None:
        self._s = settings
        self._method = (method or shared_method(settings))(settings)
        self._bones = BoneEstimator(
            round(settings.estimate_bones_s * MODEL_RATE_HZ), settings.bones
        )
        self.counts = {
            "frames": 0,
            "frames missing": 0,
            "frames bridged": 0,
            "lost": 0,
            "out of order": 0,
            "stamps gone back": 0,
            "another person": 0,
        }
        self._gate = Gate(settings.gate)
        self._person = PersonCheck()
        self._ever_seen = np.zeros(J, dtype=bool)
        self._start()

    @property
    def lookahead(self) -> int:
        """Delay in frames."""
        return self._s.lookahead

    @property
    def bones(self) -> BoneLengths | None:
        """The operator's bone lengths, once fixed."""
        return self._bones.held

    @property
    def failures(self) -> dict[str, int]:
        """Number of failures of the input by name, without zeros."""
        return {
            name: count
            for name, count in (self.counts | self._gate.counts).items()
            if count and name != "frames"
        }

    def _start(self) -> None:
        """Discard the history, but keep the operator's bones."""
        self._anchor = self._slot = 0
        self._waiting: deque[BodyFrame] = deque()
        self._unseen = 0
        self._joints_unseen = np.zeros(J)  # frames
        # stamp of the last out-of-order body, and number of consecutive ones
        self._back: tuple[int, int] = (
            0,
            0,
        )
        self._newest_input = 0
        self._free = Kalman(process=30.0, measurement=0.015, lookahead=0)
        self._last: BodyFrame | None = None
        self._gate.forget()
        if self._method is not None:
            self._method.reset()

    def push(self, body: BodyFrame) -> list[BodyFrame]:
        """Take a body; returns the smoothed bodies that are due, oldest first, usually one.

        An out-of-order body is dropped. After a gap longer than ``bridge_s``, the history is
        discarded.
        """
        self.counts["frames"] += 1
        if not self._waiting:
            return self._begin(body)
        slot = round((body.stamp - self._anchor) / _PERIOD)
        if slot <= self._slot:
            return self._out_of_order(body)
        self._back = (0, 0)
        gap = slot - self._slot - 1
        if gap * _PERIOD > self._s.bridge_s * 1e9:
            self.counts["lost"] += 1
            self._start()
            lost = f"not seen for {(gap + 1) / MODEL_RATE_HZ:.1f} s: restarted"
            return self._begin(replace(body, remarks=(*body.remarks, lost)))
        out = [smooth for k in range(gap) for smooth in self._missing(self._slot + 1)]
        return out + self._step(body, slot)

    def restart(self, body: BodyFrame, why: str) -> list[BodyFrame]:
        """Discard the history and restart from ``body``, with a remark."""
        self._start()
        return self._begin(replace(body, remarks=(*body.remarks, f"{why}: started again")))

    def _out_of_order(self, body: BodyFrame) -> list[BodyFrame]:
        """Drop the body, unless enough such bodies came in a row: then the earlier time was
        wrong.
        """
        self.counts["out of order"] += 1
        stamp, count = self._back
        count = count + 1 if body.stamp > stamp else 1
        self._back = (body.stamp, count)
        if count < _BACK_BELIEVED:
            return []
        self.counts["stamps gone back"] += 1
        seconds = (self._anchor + self._slot * _PERIOD - body.stamp) / 1e9
        return self.restart(body, f"stamps jumped back by {seconds:.1f} s")

    def advance(self, stamp: int) -> list[BodyFrame]:
        """Bridge up to ``stamp`` without a body; returns the smoothed bodies that are due.

        The result is empty before the first body, and after the body was reported lost.
        """
        out: list[BodyFrame] = []
        while (
            self._waiting
            and self._unseen <= self._s.bridge_s * MODEL_RATE_HZ
            and self._anchor + (self._slot + 1) * _PERIOD <= stamp
        ):
            out += self._missing(self._slot + 1)
        return out

    def _begin(self, body: BodyFrame) -> list[BodyFrame]:
        self._anchor = body.stamp
        self._slot = 0
        return self._step(body, 0)

    def _missing(self, slot: int) -> list[BodyFrame]:
        """Add a missing frame."""
        self.counts["frames missing"] += 1
        last = self._waiting[-1]
        empty = replace(
            last,
            stamp=self._anchor + round(slot * _PERIOD),
            positions=np.full((J, 3), np.nan),
            valid=np.zeros(J, dtype=bool),
            confidence=np.zeros(J),
            remarks=(),
        )
        return self._step(empty, slot)

    def _step(self, body: BodyFrame, slot: int) -> list[BodyFrame]:
        self._slot = slot
        usable = (
            body.valid
            & (body.confidence >= self._s.least_confidence)
            & np.isfinite(body.positions).all(-1)
        )
        points = np.where(usable[:, None], body.positions, np.nan)
        remarks = list(body.remarks)
        if self._s.method != "bypass":
            points, new_remarks = self._gate.push(points)
            remarks += new_remarks
            if self._gate.restarted and self._method is not None:
                self._method.reset()
                self._waiting.clear()
                self._free = Kalman(process=30.0, measurement=0.015, lookahead=0)
        seen = np.asarray(np.isfinite(points).all(axis=-1))
        self._ever_seen |= seen
        self._unseen = 0 if seen.any() else self._unseen + 1
        self._waiting.append(replace(body, positions=points, valid=seen, remarks=tuple(remarks)))
        while len(self._waiting) > self._s.lookahead + 1:
            self._waiting.popleft()
        # Only of frames in the window: a single wrong stamp must not remain the newest.
        measured = [b.newest_input for b in self._waiting if b.valid.any()]
        self._newest_input = max(measured) if measured else self._newest_input
        if self._method is None:
            return self._pass()
        estimate = self._method.push(points, self._bones.held.lengths if self._bones.held else None)
        self._check_person(points)
        if estimate is None or len(self._waiting) <= self._s.lookahead:
            return []
        if self._waiting[0].valid.sum() > J // 2:
            self._bones.push(self._waiting[0].positions, estimate.positions)
        return [self._finish(estimate)]

    def _pass(self) -> list[BodyFrame]:
        """Bypass: the unchanged body ``lookahead`` frames ago; a missing one repeats the last with
        growing uncertainty, until it is lost.
        """
        if len(self._waiting) <= self._s.lookahead:
            return []
        body = self._waiting[0]
        if body.valid.any():
            self._last = replace(body, newest_input=self._newest_input)
            return [self._last]
        if self._last is None:
            return []
        seconds = (body.stamp - self._last.stamp) / 1e9
        known = np.zeros((J, 3, 3)) if self._last.covariance is None else self._last.covariance
        held = replace(
            self._last,
            stamp=body.stamp,
            covariance=known + (_WANDER_M_S * seconds) ** 2 * np.eye(3),
            confidence=self._last.confidence * max(1 - seconds / self._s.bridge_s, 0.0),
            remarks=body.remarks,
        )
        return [self._bridged(held)]

    def _finish(self, estimate: Estimate) -> BodyFrame:
        """The body of an estimate, with stamps, validity and confidence of its frame."""
        body = self._waiting[0]
        positions = estimate.positions
        q_world_joint = estimate.rotations
        if self._s.trust_rotations and body.valid.any():
            skeleton = with_lengths(estimate.bones)
            q_world_joint = rotations_from_positions(positions, skeleton, body.rotations)
            positions = np.asarray(
                kinematics.forward_kinematics(skeleton, q_world_joint, positions[0])
            )
        covariance = estimate.covariance
        deviation = np.sqrt(np.trace(covariance, axis1=-2, axis2=-1) / 3)
        known = known_joints(self._ever_seen)
        if not known.all():
            positions = np.array(positions)
            q_world_joint = np.array(q_world_joint)
            at_rest(positions, q_world_joint, known, with_lengths(estimate.bones))
            covariance = np.where(known[:, None, None], covariance, UNKNOWN_M**2 * np.eye(3))
        self._joints_unseen = np.where(body.valid, 0, self._joints_unseen + 1)
        seconds = self._joints_unseen / MODEL_RATE_HZ
        guess = _GUESS * np.clip((_STALE_S - seconds) / (_STALE_S - _FRESH_S), 0.0, 1.0)
        sure = np.where(body.valid, body.confidence, guess) / (1 + (deviation / 0.1) ** 2)
        smooth = replace(
            body,
            positions=positions,
            rotations=q_world_joint,
            covariance=covariance,
            valid=known,
            confidence=np.where(known, np.clip(sure, 0.0, 1.0), 0.0),
            newest_input=self._newest_input,
        )
        return smooth if body.valid.any() else self._bridged(smooth)

    def _bridged(self, body: BodyFrame) -> BodyFrame:
        """Mark a body that is extrapolated or lost."""
        self.counts["frames bridged"] += 1
        seconds = self._unseen / MODEL_RATE_HZ
        if seconds > self._s.bridge_s:
            self.counts["lost"] += self._unseen == round(self._s.bridge_s * MODEL_RATE_HZ) + 1
            return replace(
                body,
                valid=np.zeros(J, dtype=bool),
                confidence=np.zeros(J),
                remarks=(*body.remarks, f"body lost for {seconds:.1f} s"),
            )
        return replace(body, remarks=(*body.remarks, "body not seen: extrapolated"))

    def _check_person(self, points: F64) -> None:
        """Compare bone lengths with the fixed ones; the remark is added to the newest frame."""
        self._free.push(points)
        if self._bones.held is None:
            return
        smooth, _ = self._free.predict()
        remark = self._person.push(np.where(np.isfinite(points), smooth, np.nan), self._bones.held)
        if remark is not None:
            self.counts["another person"] += 1
            self._waiting[-1] = replace(
                self._waiting[-1], remarks=(*self._waiting[-1].remarks, remark)
            )
