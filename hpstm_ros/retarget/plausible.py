"""Plausibility checks of a robot model: finite values of a realistic magnitude.

NaN, or values so large that sums overflow, would invalidate every later comparison, including those
of the safety guard.
"""

import numpy as np
import pinocchio as pin

from pallas_ros.body.errors import PallasError
from pallas_ros.files.urdf import LARGEST_M

_MOST_TURNS_RAD = 1e20  # of revolute limits; some files use 1e16 for "none"
_FASTEST = 1e6  # rad/s or m/s, of a joint; some files use 10000 for "no limit"
_HEAVIEST_KG = 1e5
_POSTURES = 5  # number of postures for the check of the kinematics


def check_model(model: pin.Model) -> None:
    """Reject an implausible kinematic model.

    Raises:
        PallasError: a joint's or a link's offset, limit or inertia is not finite or not plausible.
    """
    for frame in model.frames:
        _check_pose(f"frame '{_short(frame.name)}'", frame.placement)
    for name, pose, inertia in zip(model.names, model.jointPlacements, model.inertias, strict=True):
        what = f"joint '{_short(name)}'"
        _check_pose(what, pose)
        if not (0 <= inertia.mass <= _HEAVIEST_KG and np.isfinite(inertia.matrix()).all()):
            raise PallasError(f"{what}: the inertia of its link is implausible for a robot")
    for name, joint in zip(list(model.names)[1:], list(model.joints)[1:], strict=True):
        _check_limits(f"joint '{_short(name)}'", model, joint)
    _check_kinematics(model)


def check_geometry(geometry: pin.GeometryModel) -> None:
    """Reject implausible shapes.

    Raises:
        PallasError: a shape's size or place is not finite or not plausible.
    """
    for item in geometry.geometryObjects:
        what = f"shape '{_short(item.name)}'"
        _check_pose(what, item.placement)
        item.geometry.computeLocalAABB()
        reach = float(np.linalg.norm(item.geometry.aabb_center)) + item.geometry.aabb_radius
        if not reach <= LARGEST_M:
            raise PallasError(
                f"{what} reaches {reach:g} m from its link, but at most {LARGEST_M:g} m is"
                ' plausible; check the unit of its mesh (scale="0.001 0.001 0.001" for mm)'
            )


def _check_pose(what: str, pose: pin.SE3) -> None:
    offset = float(np.abs(pose.translation).max())
    if not offset <= LARGEST_M:
        raise PallasError(
            f"{what} is {offset:g} m from its parent, but at most {LARGEST_M:g} m is plausible;"
            " check its <origin>, which is in m"
        )
    R = pose.rotation
    if not np.abs(R @ R.T - np.eye(3)).max() <= 1e-3:
        raise PallasError(f"{what} has an invalid rotation; check the rpy of its <origin>, in rad")


def _check_limits(what: str, model: pin.Model, joint: pin.JointModel) -> None:
    most = LARGEST_M if joint.shortname().startswith("JointModelP") else _MOST_TURNS_RAD
    k = slice(joint.idx_q, joint.idx_q + joint.nq)
    farthest = np.abs((model.lowerPositionLimit[k], model.upperPositionLimit[k])).max(initial=0.0)
    if not farthest <= most:
        raise PallasError(f"{what}: its position limit {farthest:g} is beyond {most:g}")
    v = slice(joint.idx_v, joint.idx_v + joint.nv)
    fastest = float(np.abs(model.velocityLimit[v]).max(initial=0.0))
    if not fastest <= _FASTEST:
        raise PallasError(f"{what}: its velocity limit {fastest:g} is beyond {_FASTEST:g}")


def _check_kinematics(model: pin.Model) -> None:
    """Check the computed kinematics, which reveals axes of length 0."""
    data = model.createData()
    random = np.random.default_rng(0)
    for _ in range(_POSTURES):
        q = random.uniform(model.lowerPositionLimit, model.upperPositionLimit)
        J = pin.computeJointJacobians(model, data, q).reshape(6, -1)
        still = np.abs(J).sum(axis=0) < 1e-9
        if not np.isfinite(J).all() or still.any():
            own = [name for name, nv in zip(model.names, model.nvs, strict=True) if nv]
            name = own[int(np.argmax(still | ~np.isfinite(J).all(axis=0)))]
            raise PallasError(
                f"joint '{_short(name)}' moves nothing, or its motion cannot be computed; check"
                " its <axis> and <origin>"
            )


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:57]}..."
