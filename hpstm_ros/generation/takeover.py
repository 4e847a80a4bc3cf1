"""A live operator takes over from generated motion and hands back, each by a blend."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation.blending import Turning, smooth_step
from hpstm_ros.generation.playback import BLEND_S
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.names import PARENTS
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]

BLEND_M_S = 1.0
"""m/s that a blend adds to the movement of the two bodies at most: a calm reach of a hand."""
JUMP_M = 0.25
"""m between two bodies of one source beyond which the second is blended to: 15 m/s at 60 Hz, which
no hand reaches."""
FRESH_NS = 200_000_000
"""ns, age of an operator's newest body at most for taking over."""
LEADS = "the operator leads"
BLENDS = "blending"
_LONGEST_NS = 100_000_000
_HALVINGS = 6
_PARENTS = np.array(PARENTS[1:])


class TakeOver:
    """One stream of bodies out of two: the generator's, or a live operator's.

    The one that does not lead is only watched. After a change of lead what is shown goes from the
    one to the other, while both move on: over `BLEND_S`, or as much longer as keeps the speed that
    this adds to theirs below `BLEND_M_S`. The same follows a jump of the one that leads. While the
    operator leads and is silent nothing is shown, so that the arm holds as for any live body that
    is lost.
    """

    def __init__(self) -> None:
        self._operator_leads = False
        self._generated: BodyFrame | None = None
        self._operator: BodyFrame | None = None
        self._shown: BodyFrame | None = None
        self._leaving: BodyFrame | None = None
        self._leaving_moves = False
        self._part = 1.0
        self._moved = 0.0
        self._turning = Turning()

    @property
    def operator_leads(self) -> bool:
        """Whether the live operator's body is shown."""
        return self._operator_leads

    @property
    def blending(self) -> bool:
        """Whether what is shown lies between two bodies."""
        return self._leaving is not None

    @property
    def shown(self) -> BodyFrame | None:
        """The body shown last."""
        return self._shown

    def take_over(self, now: int) -> None:
        """The operator leads from now (ns) on.

        Raises:
            PallasError: no body of the operator's has come within the last 0.2 s.
        """
        if self._operator is None or not abs(now - self._operator.stamp) <= FRESH_NS:
            raise PallasError("no body of the operator arrives: start the sensors first")
        self._lead(operator=True)

    def hand_back(self) -> None:
        """The generator leads."""
        self._lead(operator=False)

    def generated(self, body: BodyFrame) -> BodyFrame | None:
        """A body of the generator's: what is to be shown, or None while the operator leads."""
        self._watch(self._generated, body, leads=not self._operator_leads)
        self._generated = body
        return None if self._operator_leads else self._mixed(body)

    def operator(self, body: BodyFrame) -> BodyFrame | None:
        """A body of the operator's: what is to be shown, or None.

        Bodies that are not finite, or not newer than the one before, are left out.
        """
        before = self._operator
        sound = np.isfinite(body.positions).all() and np.isfinite(body.rotations).all()
        norms = np.linalg.norm(body.rotations, axis=-1) if sound else np.zeros(1)
        if not sound or np.abs(norms - 1).max() > 1e-3:
            return None
        if before is not None and self._operator_leads and body.body_id != before.body_id:
            return None
        if before is not None and 0 <= before.stamp - body.stamp < FRESH_NS:
            return None
        self._watch(before, body, leads=self._operator_leads)
        self._operator = body
        shown = self._mixed(body) if self._operator_leads else None
        if shown is None:
            return None
        one_id = body.body_id if self._generated is None else self._generated.body_id
        return replace(shown, body_id=one_id, remarks=(*shown.remarks, LEADS))

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
        """How far the two bodies moved since one was shown, and whether one of them jumped."""
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
        step = spent / max(BLEND_S, 1.5 * away / BLEND_M_S)  # 1.5: steepest slope of the blend
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


def bones_of(positions: F64, q_world_joint: F64) -> F64:
    """(22, 3) m, of every joint from its parent, in the parent's frame."""
    bones = np.zeros_like(positions)
    offsets = positions[1:] - positions[_PARENTS]
    bones[1:] = rotations.rotate(rotations.inverse(q_world_joint[_PARENTS]), offsets)
    return bones


def _farthest(a: F64, b: F64) -> float:
    """m, the farthest that a joint is from itself."""
    return float(np.linalg.norm(a - b, axis=-1).max())
