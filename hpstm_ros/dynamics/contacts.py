"""Ground reaction: distributes the wrench that a motion requires over feet, hands and seat.

Each foot has four contact points. Forces at points that are low and still have a low cost, at
points that are high or move a high cost. A quadratic program within the friction cones minimises
the cost and the unexplained wrench.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import quadprog
from numpy.typing import NDArray

F64 = NDArray[np.float64]


_YZX = np.array([1, 2, 0])
_ZXY = np.array([2, 0, 1])


def cross(a: F64, b: F64) -> F64:
    """Cross products (..., 3); takes a fifth of the time of `numpy.cross` for a few vectors."""
    return a.take(_YZX, -1) * b.take(_ZXY, -1) - a.take(_ZXY, -1) * b.take(_YZX, -1)


@dataclass(frozen=True)
class ContactSettings:
    """Settings of the distribution of forces.

    Attributes:
        friction: coefficient of the cones: dry shoe sole on floor, 0.6 to 0.9.
        height: m above the floor at which the cost of a point is multiplied by e.
        speed: m/s at which the cost of a point is multiplied by e.
        cost: of a point at rest on the floor, relative to a residual of one body weight.
        dearest: upper limit of the cost factor.
        lever: m, lever arm for comparing residual moments with forces.
        flight: share of body weight; a smaller required upward force counts as flight.
        effort: cost of joint moments, relative to a residual moment.
    """

    friction: float = 0.8
    height: float = 0.02
    speed: float = 0.25
    cost: float = 1e-2
    dearest: float = 1e4
    lever: float = 0.1
    flight: float = 0.12
    effort: float = 0.03


@dataclass(frozen=True, eq=False)
class Points:
    """Possible contact points.

    Attributes:
        positions: (n, 3) m, world.
        owner: (n,) 0 left foot, 1 right foot, 2 and above for other contacts.
        dearness: (n,) cost factor, at least 1.
    """

    positions: F64
    owner: NDArray[np.intp]
    dearness: F64


@dataclass(frozen=True, eq=False)
class Share:
    """Forces (n, 3) N at the points, and the remaining force N and moment Nm (6,) about the
    reference.
    """

    forces: F64
    residual: F64


def dearness(heights: F64, speeds: F64, settings: ContactSettings) -> F64:
    """Cost factor of forces at points, by their height and speed.

    Args:
        heights: (n,) m, above the floor.
        speeds: (n,) m/s.
        settings: scales of both, and the upper limit.

    Returns:
        (n,) 1 for points at rest on the floor, up to ``settings.dearest``.
    """
    exponent = np.maximum(heights, 0.0) / settings.height + speeds / settings.speed
    return np.asarray(np.minimum(np.exp(np.minimum(exponent, 50.0)), settings.dearest))


def _generators(friction: float) -> F64:
    """(4, 3) edges of a pyramid inside the friction cone."""
    side = friction / np.sqrt(2.0)
    return np.array([[x, y, 1.0] for x in (-side, side) for y in (-side, side)])


@dataclass(frozen=True, eq=False)
class Chain:
    """Joints that transmit the forces at some of the points.

    Attributes:
        owner: of these points.
        joints: (k, 3) m, world.
        moments: (k, 3) Nm, moments at the joints without these forces.
    """

    owner: int
    joints: F64
    moments: F64


def share(
    points: Points,
    demand: F64,
    reference: F64,
    weight: float,
    settings: ContactSettings,
    chains: Sequence[Chain] = (),
) -> Share:
    """Distribute a required wrench over contact points.

    Args:
        points: at least one.
        demand: (6,) required force N and moment Nm about ``reference``, world axes.
        reference: (3,) m, world.
        weight: N, of the body.
        settings: costs and friction.
        chains: joints whose moments shall be small.
    """
    edges = _generators(settings.friction)
    arms = points.positions - reference
    forces = np.broadcast_to(edges, (len(arms), 4, 3))
    moments = cross(arms[:, None], forces)
    columns = np.concatenate((forces, moments), axis=-1).reshape(-1, 6).T  # (6, 4n)
    scale = np.array([1.0, 1.0, 1.0, *(1 / settings.lever,) * 3])
    rows = columns * scale[:, None]
    goal = demand * scale / weight
    cost = np.repeat(settings.cost * points.dearness, 4)
    hessian = rows.T @ rows + np.diag(cost)
    linear = rows.T @ goal
    for chain in chains:
        mine = points.owner == chain.owner
        arms_of = points.positions[mine] - chain.joints[:, None]  # (k, m, 3)
        passed = cross(arms_of[:, :, None], edges)  # (k, m, 4, 3)
        effort = np.zeros((3 * len(chain.joints), len(cost)))
        columns_of = np.repeat(mine, 4)
        effort[:, columns_of] = (
            passed.reshape(len(chain.joints), -1, 3)
            .transpose(0, 2, 1)
            .reshape(-1, int(columns_of.sum()))
        )
        effort /= settings.lever
        held = chain.moments.reshape(-1) / (settings.lever * weight)
        hessian += settings.effort**2 * effort.T @ effort
        linear += settings.effort**2 * effort.T @ held
    beta = quadprog.solve_qp(hessian, linear, np.eye(len(cost)), np.zeros(len(cost)))[0]
    found = (np.maximum(beta, 0.0) * weight).reshape(-1, 4) @ edges
    carried = np.concatenate((found.sum(axis=0), cross(arms, found).sum(axis=0)))
    return Share(found, demand - carried)


def centre_of_pressure(positions: F64, forces: F64, floor: float) -> F64:
    """Centre of pressure (3,) m of upward forces; NaN without force.

    Args:
        positions: (n, 3) m, contact points, world.
        forces: (n, 3) N, at these points.
        floor: m, height at which the resultant acts.
    """
    upward = forces[:, 2]
    total = float(upward.sum())
    if total < 1.0:
        return np.full(3, np.nan)
    centre = upward @ positions / total
    return np.array([centre[0], centre[1], floor])
