"""Blended transitions between generated motion and a live operator, in both directions."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation.blending import Turning, smooth_step
from hpstm_ros.generation.playback import BLEND_M_S, BLEND_S, STEEPEST
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.names import PARENTS
from pallas_ros.body.presence import IN_VIEW_NS, farthest_step_m
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]

JUMP_M = 0.25
"""m, distance between successive bodies of a source above which they are blended: 15 m/s at 60 Hz,
faster than any hand."""
FRESH_NS = 200_000_000
"""ns, maximum age of the operator's newest body when taking over."""
_MOST_PEOPLE = 16
LEADS = "the operator leads"
BLENDS = "blending"
_LONGEST_NS = 100_000_000
_HALVINGS = 6
_PARENTS = np.array(PARENTS[1:])


class TakeOver:
    """Merges two streams of bodies, the generator's and a live operator's, into one.

    One of the two sources is active; the other is only monitored. When the active source changes,
    the output is blended from one to the other while both continue to move. The blend takes
    `BLEND_S`, or longer if it would add more than `BLEND_M_S` to their speed. A jump of the active
    source is blended in the same way. While the operator is active and silent, there is no output,
    so that the arm holds as for any lost live body.
    """

    def __init__(self) -> None:
        self._operator_leads = False
        self._generated: BodyFrame | None = None
        self._operator: BodyFrame | None = None
        self._others: dict[str, int] = {}  # id -> stamp of the other people in view
        self._shown: BodyFrame | None = None
        self._leaving: BodyFrame | None = None
        self._leaving_moves = False
        self._part = 1.0
        self._moved = 0.0
        self._turning = Turning()

    @property
    def operator_leads(self) -> bool:
        """Whether the live operator is the active source."""
        return self._operator_leads

    @property
    def blending(self) -> bool:
        """Whether a blend is in progress."""
        return self._leaving is not None

    @property
    def shown(self) -> BodyFrame | None:
        """The last output."""
        return self._shown

    def take_over(self, now: int) -> None:
        """Make the operator the active source at ``now`` (ns).

        Raises:
            PallasError: no body of the operator has arrived within the last 0.2 s, or several
                people are in view.
        """
        if self._operator is None or not abs(now - self._operator.stamp) <= FRESH_NS:
            raise PallasError("no body of the operator is arriving: start the sensors first")
        others = [name for name, at in self._others.items() if abs(now - at) <= IN_VIEW_NS]
        if others:
            names = ", ".join(repr(name[:40]) for name in (self._operator.body_id, *others))
            raise PallasError(f"several people are in view ({names}): only the operator may be")
        self._lead(operator=True)

    def hand_back(self) -> None:
        """Make the generator the active source."""
        self._lead(operator=False)

    def generated(self, body: BodyFrame) -> BodyFrame | None:
        """Process a body of the generator; return the output, or None if the operator is active."""
        self._watch(self._generated, body, leads=not self._operator_leads)
        self._generated = body
        return None if self._operator_leads else self._mixed(body)

    def operator(self, body: BodyFrame) -> BodyFrame | None:
        """Process a body of the operator; return the output, or None if the generator is active.

        Bodies that are not finite, not newer than the previous one, or of another person are
        ignored. A body of the leading operator's id is of another person if it is where the
        operator cannot be: hand back, and take over again.
        """
        before = self._operator
        sound = np.isfinite(body.positions).all() and np.isfinite(body.rotations).all()
        norms = np.linalg.norm(body.rotations, axis=-1) if sound else np.zeros(1)
        if not sound or np.abs(norms - 1).max() > 1e-3:
            return None
        if before is not None and body.body_id != before.body_id:
            if self._operator_leads or self._is_present(before, body):
                return None
        elif before is not None and (
            0 <= before.stamp - body.stamp < FRESH_NS
            or (self._operator_leads and _is_elsewhere(before, body))
        ):
            return None
        self._others.pop(body.body_id, None)
        self._watch(before, body, leads=self._operator_leads)
        self._operator = body
        shown = self._mixed(body) if self._operator_leads else None
        if shown is None:
            return None
        one_id = body.body_id if self._generated is None else self._generated.body_id
        return replace(shown, body_id=one_id, remarks=(*shown.remarks, LEADS))

    def _is_present(self, operator: BodyFrame, other: BodyFrame) -> bool:
        """Whether the operator is still in view, so that this body is of another person."""
        if not abs(other.stamp - operator.stamp) <= IN_VIEW_NS:
            return False
        if len(self._others) >= _MOST_PEOPLE:
            del self._others[min(self._others, key=lambda name: self._others[name])]
        self._others[other.body_id] = other.stamp
        return True

    def _lead(self, *, operator: bool) -> None:
        if operator == self._operator_leads:
            return
        self._operator_leads = operator
        whole = self._leaving is None
        self._begin(self._shown)
        self._leaving_moves = whole

    def _begin(self, leaving: BodyFrame | None) -> None:
        self._leaving = leaving
        self._leaving_moves = False
        self._part = 0.0
        self._turning = Turning()

    def _watch(self, before: BodyFrame | None, body: BodyFrame, *, leads: bool) -> None:
        """Track the motion of the two bodies since the last output, and detect jumps."""
        step = 0.0 if before is None else _farthest(before.positions, body.positions)
        jumped = step > JUMP_M
        if leads and jumped:
            self._begin(self._shown)
        elif leads:
            self._moved += step
        elif self._leaving_moves and jumped:
            self._leaving_moves = False
        elif self._leaving_moves:
            self._leaving = body
            self._moved += step

    def _mixed(self, lead: BodyFrame) -> BodyFrame | None:
        shown = self._shown
        if shown is not None and 0 <= shown.stamp - lead.stamp < FRESH_NS:
            return None  # a live body is a little older than a generated one
        if self._leaving is not None and shown is not None:
            lead = self._between(self._leaving, lead, shown)
        self._shown = lead
        self._moved = 0.0
        return lead

    def _between(self, leaving: BodyFrame, lead: BodyFrame, shown: BodyFrame) -> BodyFrame:
        spent = min(max(lead.stamp - shown.stamp, 0), _LONGEST_NS) / 1e9
        away = _farthest(leaving.positions, lead.positions)
        step = spent / max(BLEND_S, STEEPEST * away / BLEND_M_S)
        allowed = BLEND_M_S * spent + self._moved
        for halving in range(_HALVINGS):
            part = min(self._part + step / 2**halving, 1.0)
            mixed = self._mix(leaving, lead, part)
            if _farthest(shown.positions, mixed.positions) <= allowed:
                break
        self._part = part
        if part < 1.0:
            return mixed
        self._leaving = None
        self._leaving_moves = False
        return lead

    def _mix(self, leaving: BodyFrame, lead: BodyFrame, part: float) -> BodyFrame:
        share = smooth_step(part)
        q = self._turning.between(leaving.rotations, lead.rotations, share)
        ends = [bones_of(body.positions, body.rotations) for body in (leaving, lead)]
        bones = (1 - share) * ends[0] + share * ends[1]
        skeleton = replace(Skeleton.from_height(), offsets=bones)
        root = (1 - share) * leaving.positions[0] + share * lead.positions[0]
        p = np.asarray(forward_kinematics(skeleton, q, root), dtype=np.float64)
        return replace(lead, rotations=q, positions=p, remarks=(*lead.remarks, BLENDS))


def _is_elsewhere(before: BodyFrame, body: BodyFrame) -> bool:
    """Whether the body is too far from the previous one to be the same person."""
    away = float(np.linalg.norm(body.positions[0, :2] - before.positions[0, :2]))
    return away > farthest_step_m((body.stamp - before.stamp) / 1e9)


def bones_of(positions: F64, q_world_joint: F64) -> F64:
    """Offset (22, 3) m of every joint from its parent, in the parent's frame."""
    bones = np.zeros_like(positions)
    offsets = positions[1:] - positions[_PARENTS]
    bones[1:] = rotations.rotate(rotations.inverse(q_world_joint[_PARENTS]), offsets)
    return bones


def _farthest(a: F64, b: F64) -> float:
    """Largest distance between corresponding joints of ``a`` and ``b``, m."""
    return float(np.linalg.norm(a - b, axis=-1).max())
