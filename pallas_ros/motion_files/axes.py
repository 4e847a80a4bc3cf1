"""Infer a file's up and forward axes and its unit from the skeleton and its motion.

Up is the direction of the trunk, since people are mostly upright. If that contradicts the rest pose
or the format definition, the floor decides: the lowest points of a body are near height 0. Left and
right follow from the joint names, and forward from them. The unit is the one that gives human limb
lengths.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.rotations import Array
from pallas_ros.motion_files.landmarks import SIDES, Landmarks, unit
from pallas_ros.motion_files.source import Source

UNITS = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
"""Unit names -> metres; decimetres are those of MakeHuman."""
_CMU_UNIT = 0.0254 / 0.45
"""Unit of the CMU database's skeletons, converted to BVH without scaling (its .asf files: ``length
0.45``, inches).
"""
STATURE_M = (0.95, 2.35)
"""Range of human size in m, children included; the units differ by more than this range."""
UPS: dict[str, NDArray[np.float64]] = {
    f"{sign}{axis}": (-1.0 if sign else 1.0) * np.eye(3)[index]
    for sign in ("", "-")
    for index, axis in enumerate("xyz")
}
"""Direction names -> unit vectors (3,)."""
Y_UP: NDArray[np.float64] = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""From y up, z forward to x forward, y left, z up: for most BVH files and SMPL's template."""
_SAMPLES = 400
_UPRIGHT = 0.7
"""Minimum mean up component of the trunk direction for the motion to determine up."""
_SNAP_DEG = 15.0
"""A rest pose rotated by less than this is assumed to be aligned with its axes."""


@dataclass(frozen=True, eq=False)
class Axes:
    """Conversion of a file's axes and unit to REP-103.

    Attributes:
        R_world_file: (3, 3), the file's axes to x forward, y left, z up.
        R_body_rest: (3, 3), the rest pose's axes to the T-pose's, or None if the rest pose is not a
            standing body.
        metres: length of the file's unit.
        up: the file's up direction, of `UPS`.
        forward: the file's direction that becomes x.
        unit: name or length of the unit, for messages.
        lying_is_meant: the file indicates that up is correct although nobody stands.
    """

    R_world_file: Array
    R_body_rest: Array | None
    metres: float
    up: str
    forward: str
    unit: str
    lying_is_meant: bool


def detect(
    points: Array,
    rest: Array | None,
    source: Source,
    path: Path,
    up: str | None = None,
    metres: float | None = None,
) -> Axes:
    """Infer a file's axes and unit.

    Args:
        points: (T, 22, 3) joints in the file's axes and unit.
        rest: (22, 3) of the rest pose, or None.
        source: source with its format hints.
        path: of the file, for messages.
        up: a name of `UPS` that overrides detection.
        metres: length of the unit that overrides detection.

    Raises:
        PallasError: nothing fits, or the result is ambiguous.
    """
    step = max(len(points) // _SAMPLES, 1)
    seen = Landmarks(points[::step])
    if not seen.stature > 0:
        raise PallasError(
            f"{path}: its limbs have no length, because all its joints are at the same point"
        )
    frame = None if rest is None else _standing_frame(Landmarks(rest[None]))
    rest_up = None if frame is None else _nearest(frame[2])
    chosen, meant = _up(seen, rest_up, source, path, up)
    if frame is not None and rest_up == chosen:
        left = frame[1]
    else:
        left = _first_left(points, UPS[chosen])
    R_world_file = _rows(UPS[chosen], _axis_across(left, UPS[chosen]))
    factor, name = _unit(seen, source, path, metres)
    return Axes(
        R_world_file=R_world_file,
        R_body_rest=frame,
        metres=factor,
        up=chosen,
        forward=_nearest(R_world_file[0]),
        unit=name,
        lying_is_meant=meant,
    )


def _rows(up: Array, left: Array) -> Array:
    return np.stack((np.cross(left, up), left, up))


def _nearest(vector: Array) -> str:
    """Return the direction of `UPS` closest to a vector (3,)."""
    return max(UPS, key=lambda name: float(UPS[name] @ vector))


def _axis_across(vector: Array, up: Array) -> Array:
    """Return the axis perpendicular to ``up`` that is closest to a vector."""
    return max(
        (a for a in UPS.values() if abs(a @ up) < 0.5), key=lambda axis: float(axis @ vector)
    )


def _standing_frame(rest: Landmarks) -> Array | None:
    """Return rows forward, left, up (3, 3) of a rest pose, or None if it is not a standing body.

    In rigs whose joint axes are aligned with the bones (LAFAN1, Bandai-Namco) the rest offsets do
    not form a body at all.
    """
    trunk = rest.trunk[0]
    legs = rest.legs[0]
    hips = rest.left_hips[0]
    shoulders = rest.left_shoulders[0]
    # a rest pose that sits or bends has only its trunk or legs upright
    up = max((unit(trunk + legs), trunk, legs), key=lambda vector: float(np.abs(vector).max()))
    left = rest.left[0]
    bends = [
        unit(rest.between(f"{side}_hip", f"{side}_knee")[0])
        @ unit(rest.between(f"{side}_knee", f"{side}_ankle")[0])
        for side in SIDES
    ]
    stands = trunk @ legs > 0.5 and min(bends) > -0.2
    if not stands or hips @ shoulders < 0.5 or abs(left @ up) > 0.3:
        return None
    snapped = _rows(UPS[_nearest(up)], _axis_across(left, UPS[_nearest(up)]))
    left = unit(left - (left @ up) * up)
    own = _rows(up, left)
    angle = np.degrees(np.arccos(np.clip((np.trace(own @ snapped.T) - 1) / 2, -1, 1)))
    return snapped if angle < _SNAP_DEG else own


def _up(
    seen: Landmarks, rest_up: str | None, source: Source, path: Path, given: str | None
) -> tuple[str, bool]:
    """Return the file's up axis, and whether the file itself indicates it if nobody stands."""
    prior = source.up or rest_up
    if given is not None:
        return given, given in (source.up, rest_up)
    trunk = seen.trunk[np.isfinite(seen.trunk).all(axis=1)]
    shown = _nearest(trunk.mean(axis=0))
    upright = trunk @ UPS[shown]
    if prior is None and upright.mean() < 0.4:
        raise PallasError(
            f"{path}: neither its rest pose nor its motion shows where up is; give it with --up x,"
            " y or z, or --up=-x, --up=-y or --up=-z"
        )
    if prior is None or prior == shown:
        return shown, prior == shown
    if upright.mean() < _UPRIGHT:
        return prior, True
    shown_stands, prior_lies = (_near_floor(seen, UPS[name]) for name in (shown, prior))
    if shown_stands and not prior_lies:
        return shown, False
    if prior_lies and not shown_stands:
        return prior, True
    if not source.grounded and np.percentile(upright, 5) > _UPRIGHT:
        return shown, False
    what = "format defines" if source.up else "rest pose has"
    raise PallasError(
        f"{path}: the {what} {prior} as up, but the body's trunk points along {shown} throughout,"
        f" and the floor does not decide between them; give --up{_argument(shown)} if it stands or"
        f" --up{_argument(prior)} if it lies"
    )


def _argument(up: str) -> str:
    """Format a value of --up for the command line; a leading minus requires an equals sign."""
    return f"={up}" if up.startswith("-") else f" {up}"


def _near_floor(seen: Landmarks, up: Array) -> bool:
    """Whether the body's lowest point stays near height 0."""
    lowest = np.nanmin(seen.points @ up, axis=1)
    low, high = np.percentile(lowest, (5, 75)) / seen.leg
    return bool(-0.15 < low < 0.2 and high < 0.5)


def _first_left(points: Array, up: Array) -> Array:
    """Return the direction of the body's left (3,) at the start of the motion."""
    left = Landmarks(points[: max(min(len(points), 10), 1)]).left.mean(axis=0)
    return np.asarray(left - (left @ up) * up)


def _unit(seen: Landmarks, source: Source, path: Path, given: float | None) -> tuple[float, str]:
    """Return the unit's length and name."""
    size = seen.stature
    low, high = STATURE_M
    if given is not None:
        if low <= size * given <= high:
            return given, _name(given)
        raise PallasError(
            f"{path}: --unit makes this body {_long(size * given)} tall, and a person is {low:g}"
            f" to {high:g} m; {_suggestion(size)}"
        )
    if source.metres is not None and low <= size * source.metres <= high:
        return source.metres, _name(source.metres)
    fitting = [name for name, factor in UNITS.items() if low <= size * factor <= high]
    if fitting:
        return UNITS[fitting[0]], fitting[0]
    if low <= size * _CMU_UNIT <= high:
        return _CMU_UNIT, "5.64 cm (CMU's)"
    tall = ", ".join(f"{_long(size * factor)} in {name}" for name, factor in UNITS.items())
    raise PallasError(
        f"{path}: its limbs imply a body {tall}, none of which is a person's height; if its joints"
        f" are right, give the unit's length in metres, as in --unit {1.75 / size:.3g}"
    )


def _name(metres: float) -> str:
    return next((n for n, f in UNITS.items() if np.isclose(f, metres)), f"{metres:g} m")


def _long(metres: float) -> str:
    return f"{metres:.2f} m" if metres >= 0.1 else f"{metres:.2g} m"


def _suggestion(size: float) -> str:
    low, high = STATURE_M
    fitting = [name for name, factor in UNITS.items() if low <= size * factor <= high]
    return (
        f"it would be {_long(size * UNITS[fitting[0]])} with --unit {fitting[0]}"
        if fitting
        else (f"a length of {1.75 / size:.3g} m would make it 1.75 m tall")
    )


def check_sides(seen: Landmarks, path: Path) -> None:
    """Reject a body whose toes and knees point backward.

    Left and right are then exchanged, or the axes are left-handed.

    Raises:
        PallasError: they do.
    """
    forward = unit(np.cross(seen.left_hips, seen.legs))
    toes = []
    knees = []
    for side in SIDES:
        toe = unit(seen.between(f"{side}_ankle", f"{side}_foot"))
        toes.append(np.sum(toe * forward, axis=1))
        knee = seen.of(f"{side}_knee") - (seen.of(f"{side}_hip") + seen.of(f"{side}_ankle")) / 2
        knees.append(np.sum(knee * forward, axis=1) / seen.leg)
    toes_forward = float(np.median(toes))
    knees_forward = float(np.mean(knees))
    if np.isnan(toes_forward):
        backward = knees_forward < -0.03
    else:
        backward = toes_forward < -0.35 and knees_forward < 0.01
    if backward:
        raise PallasError(
            f"{path}: toes and knees of this body point backward, so its left and right joints are"
            " exchanged or its axes are left-handed; swap the names with --map FILE, or export it"
            " again"
        )
