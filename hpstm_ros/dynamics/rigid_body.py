"""Joint moments and ground reaction of a moving person, frame by frame, by inverse dynamics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.dynamics.anthropometry import SIDES
from hpstm_ros.dynamics.contacts import (
    Chain,
    ContactSettings,
    Points,
    centre_of_pressure,
    cross,
    dearness,
    share,
)
from hpstm_ros.dynamics.human import Demand, Human, State
from pallas_ros.body.names import JOINT_INDEX

F64 = NDArray[np.float64]

STANDING = "standing"
FLIGHT = "flight"
EXTRA_CONTACTS = ("seat", "left_hand", "right_hand")
_CHAIN = {
    side: [JOINT_INDEX[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle")] for side in SIDES
}
_ARM = {
    side: [JOINT_INDEX[f"{side}_{joint}"] for joint in ("collar", "shoulder", "elbow", "wrist")]
    for side in SIDES
}
_TRUNK = [JOINT_INDEX[joint] for joint in ("spine1", "spine2", "spine3")]


@dataclass(frozen=True)
class RigidBodySettings:
    """Contacts of the body.

    Attributes:
        contacts: settings of the distribution of forces.
        extra: contacts besides the feet, of `EXTRA_CONTACTS`.
    """

    contacts: ContactSettings = field(default_factory=ContactSettings)
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Frame:
    """The forces at one instant; world axes.

    Attributes:
        moment: (22, 3) Nm, net moment on each distal segment; the row of the pelvis is the residual
            moment.
        ground_reaction: (2, 6) left and right: force N and centre of pressure m, NaN without force.
        free_moment: (2,) Nm, about the vertical through the centre of pressure.
        residual: (6,) force N and moment Nm at the pelvis that no contact explains.
        extra: contact besides the feet -> (3,) N.
        support: ``standing``, or ``flight`` if the body has no support.
        positions: (22, 3) m, joints of the model.
        centre: (3,) m, centre of mass.
    """

    moment: F64
    ground_reaction: F64
    free_moment: F64
    residual: F64
    extra: Mapping[str, F64]
    support: str
    positions: F64
    centre: F64


class RigidBody:
    """Inverse dynamics of one person.

    Args:
        human: mass, inertia, geometry.
        settings: contacts and their costs.

    Attributes:
        seat: m, height of the hips when they are on the seat; None if they are always on it.
    """

    def __init__(self, human: Human, settings: RigidBodySettings | None = None) -> None:
        self.human = human
        self.settings = settings or RigidBodySettings()
        self.seat: float | None = None
        self._corners = np.stack([foot.corners() for foot in human.feet])

    def soles(self, positions: F64, R_world_joint: F64) -> F64:
        """Contact points of the feet (..., 2, 4, 3) m, from joint positions (..., 22, 3) m and
        orientations (..., 22, 3, 3).
        """
        ankles = [JOINT_INDEX[f"{side}_ankle"] for side in SIDES]
        turned = np.einsum("...fij,fkj->...fki", R_world_joint[..., ankles, :, :], self._corners)
        return np.asarray(positions[..., ankles, None, :] + turned)

    def solve(
        self, state: State, floor: float, sole_speed: F64, standing: F64 | None = None
    ) -> Frame:
        """Compute the forces at one instant.

        Args:
            state: of the body.
            floor: m, height of the ground.
            sole_speed: (2, 4) m/s, of the contact points of the feet.
            standing: (2,) probability that each foot is in contact, or None if unknown.
        """
        settings = self.settings.contacts
        demand = self.human.demand(state)
        upward = float(demand.force[2])
        soles = self.soles(demand.positions, demand.orientations)
        if upward < settings.flight * self.human.weight:
            return self._in_flight(demand)
        factor = dearness(soles[..., 2] - floor, sole_speed, settings)
        if standing is not None:
            factor = factor * np.exp(_DISTRUST * (1 - np.clip(standing, 0, 1)))[:, None]
        soles[..., 2] = floor
        points = self._points(soles, factor, demand, float(np.linalg.norm(state.v[:3])))
        cheap = points.dearness <= _DROPPED * points.dearness.min()
        points = Points(
            points.positions[cheap],
            points.owner[cheap],
            points.dearness[cheap] / points.dearness.min(),
        )
        wrench = np.concatenate((demand.force, demand.moment[0]))
        chains = [
            Chain(foot, demand.positions[_CHAIN[side]], demand.moment[_CHAIN[side]])
            for foot, side in enumerate(SIDES)
            if (points.owner == foot).any()
        ]
        found = share(points, wrench, demand.positions[0], self.human.weight, settings, chains)
        return self._frame(demand, points, found.forces, found.residual, floor)

    def _points(self, soles: F64, factor: F64, demand: Demand, speed: float) -> Points:
        """Points of the feet and of the extra contacts; ``speed`` m/s is that of the pelvis."""
        positions = [soles.reshape(-1, 3)]
        owners = [np.repeat([0, 1], 4)]
        dear = [factor.reshape(-1)]
        for number, name in enumerate(self.settings.extra):
            positions.append(self._extra_positions(name, demand))
            owners.append(np.full(len(positions[-1]), 2 + number))
            dear.append(self._extra_dearness(name, positions[-1], demand, speed))
        return Points(np.concatenate(positions), np.concatenate(owners), np.concatenate(dear))

    def _extra_positions(self, name: str, demand: Demand) -> F64:
        """Points of a contact besides the feet: below both sitting bones, or at a hand."""
        if name == "seat":
            hips = [JOINT_INDEX[f"{side}_hip"] for side in SIDES]
            below = np.array([0.0, 0.0, -_SEAT_BELOW * self.human.stature])
            return np.asarray(demand.positions[hips] + below)
        side = name.removesuffix("_hand")
        wrist = JOINT_INDEX[f"{side}_wrist"]
        return np.asarray(
            demand.positions[wrist] + demand.orientations[wrist] @ self.human.grip(side)
        )[None]

    def _extra_dearness(self, name: str, positions: F64, demand: Demand, speed: float) -> F64:
        """Cost factor of a contact besides the feet.

        A hand is always in contact; a seat is if the hips are on it and still.
        """
        if name != "seat" or self.seat is None:
            return np.ones(len(positions))
        hips = demand.positions[[JOINT_INDEX[f"{side}_hip"] for side in SIDES], 2]
        return dearness(hips - self.seat, np.full(2, speed), self.settings.contacts)

    def _in_flight(self, demand: Demand) -> Frame:
        """Forces in flight: without contact, the required wrench at the pelvis is the residual."""
        nothing = np.concatenate((np.zeros((2, 3)), np.full((2, 3), np.nan)), axis=1)
        residual = np.concatenate((demand.force, demand.moment[0]))
        extra = {name: np.zeros(3) for name in self.settings.extra}
        return Frame(
            demand.moment,
            nothing,
            np.zeros(2),
            residual,
            extra,
            FLIGHT,
            demand.positions,
            demand.centre,
        )

    def _frame(
        self, demand: Demand, points: Points, forces: F64, residual: F64, floor: float
    ) -> Frame:
        moment = demand.moment.copy()
        reaction = np.zeros((2, 6))
        free = np.zeros(2)
        for foot, side in enumerate(SIDES):
            mine = points.owner == foot
            reaction[foot, :3] = forces[mine].sum(axis=0)
            centre = centre_of_pressure(points.positions[mine], forces[mine], floor)
            reaction[foot, 3:] = centre
            if np.isfinite(centre).all():
                free[foot] = cross(points.positions[mine] - centre, forces[mine]).sum(axis=0)[2]
            _pass_on(moment, _CHAIN[side], demand.positions, points.positions[mine], forces[mine])
        extra = {}
        for number, name in enumerate(self.settings.extra):
            mine = points.owner == 2 + number
            extra[name] = forces[mine].sum(axis=0)
            if name != "seat":  # the seat pushes the pelvis itself
                chain = [*_TRUNK, *_ARM[name.removesuffix("_hand")]]
                _pass_on(moment, chain, demand.positions, points.positions[mine], forces[mine])
        moment[0] = residual[3:]
        return Frame(
            moment, reaction, free, residual, extra, STANDING, demand.positions, demand.centre
        )


_DISTRUST = np.log(100.0)
"""Cost factor of a foot that is certainly not in contact."""
_DROPPED = 1e3
"""Points dearer than the cheapest by more than this carry less than a thousandth, and are left
out for speed."""
_SEAT_BELOW = 0.05
"""Of stature, from the hip joint down to the sitting bone (Winter 2009, figure 4.1.

Thigh clearance halved).
"""


def _pass_on(moment: F64, chain: list[int], joints: F64, points: F64, forces: F64) -> None:
    """Take from the moments of a chain's joints what forces at its end contribute, in place."""
    moment[chain] -= cross(points - joints[chain][:, None], forces).sum(axis=1)
