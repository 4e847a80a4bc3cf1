"""Converts points of pose estimators to bodies of 22 joints in the world frame, with one file per
format (`config/adapters`) and checks of units and axes.

Joints that a format lacks are missing, and are inferred by the smoother.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.smoothing.posing import rotations_from_positions
from hpstm_ros.smoothing.transforms import Placement
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.body.resources import share
from pallas_ros.body.skeleton import DEFAULT_HEIGHT_M, Skeleton
from pallas_ros.core.plugins import Plugins
from pallas_ros.files.yaml_text import load_mapping

F64 = NDArray[np.float64]

UNITS: Final = {"m": 1.0, "cm": 0.01, "mm": 0.001}
AXES: Final = {
    "as_is": np.eye(3),
    "optical": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
    "y_up": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
}
"""Conversions to REP-103 axes (x forward, y left, z up): identity; from optical axes (x right, y
down, z forward); from y up, facing z."""

HEIGHTS_M: Final = (0.8, 2.5)
"""Bodies whose limbs imply a height outside this range are rejected."""
BELOW_FLOOR_M: Final = 0.5
"""Bodies farther below the floor are rejected: the camera pose is wrong."""
ABOVE_FLOOR_M: Final = 1.5
"""Bodies whose feet are farther above the floor are rejected too."""
UPRIGHT: Final = float(np.radians(45.0))
"""A trunk tilted less than this shows that the axes are right."""
LYING_S: Final = 2.0
"""Bodies that lie from the start are rejected after this time, unless the axes were set."""

J = len(JOINTS)
_BONES = np.array(
    [j for j in range(1, J) if JOINTS[j].endswith(("_knee", "_ankle", "_elbow", "_wrist"))]
)
_BONE_PARENTS = np.array([PARENTS[j] for j in _BONES])
_DEFAULT = Skeleton.from_height()
_ANKLES = [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]]
_HIPS = [JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]]
_SHOULDERS = [JOINT_INDEX["left_shoulder"], JOINT_INDEX["right_shoulder"]]


@dataclass(frozen=True, eq=False)
class PoseFormat:
    """The point format of a pose estimator.

    Attributes:
        name: of the format.
        points: names of the points, in order.
        weights: (22, n) of each point in each joint; zero rows for joints that the format lacks.
        scale: m per unit.
        axes: one of `AXES`.
        id_stride: marker ids are body * id_stride + point; 0 if ids contain only the point.
    """

    name: str
    points: tuple[str, ...]
    weights: F64
    scale: float
    axes: str
    id_stride: int

    def joints(self, points: F64) -> F64:
        """Convert points (n, 3), NaN if missing, to joints (22, 3) m in the sender's axes, NaN if a
        required point is missing.

        Raises:
            PallasError: the number of points differs from the format's.
        """
        if points.shape != (len(self.points), 3):
            raise PallasError(
                f"{len(points)} points arrived, but the format {self.name} has {len(self.points)}:"
                " set 'format' to what the estimator publishes"
            )
        missing = np.asarray(~np.isfinite(points).all(axis=-1))
        joints = self.weights @ np.where(missing[:, None], 0.0, points) * self.scale
        joints[((self.weights > 0) & missing).any(axis=-1) | ~self.weights.any(axis=-1)] = np.nan
        return joints


ADAPTERS = Plugins[Callable[[], PoseFormat]]("pallas.adapters", "pose format")
"""Pose formats of other packages by name; those of this package are files in `config/adapters`."""


def formats(folder: Path | None = None) -> list[str]:
    """Names of the available formats."""
    files = (folder or share() / "config" / "adapters").glob("*.yaml")
    return sorted({*(path.stem for path in files), *ADAPTERS})


def load_format(name: str, folder: Path | None = None) -> PoseFormat:
    """Load a format by name (a plug-in or a file in `config/adapters`) or by the path of a file.

    Raises:
        PallasError: the format does not exist, or is invalid.
    """
    if name in ADAPTERS:
        return ADAPTERS.find(name)()
    path = (
        Path(name)
        if name.endswith(".yaml")
        else (folder or share() / "config" / "adapters") / f"{name}.yaml"
    )
    if not os.path.exists(path):
        raise PallasError(
            f"unknown pose format '{name}': known are {', '.join(formats(folder))}, or give the"
            " path of a .yaml file"
        )
    document = load_mapping(path, "pose format")
    try:
        return _parse(document, path.stem)
    except KeyError as error:
        raise PallasError(f"{path}: not a pose format: {error} is missing") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise PallasError(f"{path}: not a pose format: {' '.join(str(error).split())}") from None


def _parse(document: dict[str, Any], name: str) -> PoseFormat:
    points = tuple(str(point) for point in document["points"])
    if not isinstance(document["points"], list) or not 0 < len(set(points)) == len(points) <= 1000:
        raise ValueError("points must be a list of 1 to 1000 different names")
    weights = np.zeros((J, len(points)))
    for joint, source in document["joints"].items():
        if joint not in JOINT_INDEX:
            raise ValueError(f"'{joint}' is not one of the 22 joints")
        for point, weight in ({source: 1.0} if isinstance(source, str) else source).items():
            if point not in points:
                raise ValueError(
                    f"joint '{joint}' is derived from '{point}', which is not one of the points"
                )
            weights[JOINT_INDEX[joint], points.index(point)] = float(weight)
        own = weights[JOINT_INDEX[joint]]
        if not ((own >= 0).all() and abs(own.sum() - 1) <= 1e-3):
            raise ValueError(f"the weights of joint '{joint}' must be positive and sum to 1")
    units = document.get("units", "m")
    axes = document.get("axes", "as_is")
    if units not in UNITS or axes not in AXES:
        raise ValueError(
            f"units must be one of {', '.join(UNITS)} and axes one of {', '.join(AXES)}"
        )
    return PoseFormat(name, points, weights, UNITS[units], axes, int(document.get("id_stride", 0)))


class PoseAdapter:
    """Converts points of a pose estimator to bodies.

    Args:
        form: format of the points.
        axes: one of `AXES`, or "" for those of the format.
        units: one of `UNITS`, or "" for that of the format.

    Raises:
        PallasError: the axes or the unit are unknown.
    """

    def __init__(self, form: PoseFormat, axes: str = "", units: str = "") -> None:
        if (axes and axes not in AXES) or (units and units not in UNITS):
            raise PallasError(
                f"axes must be one of {', '.join(AXES)} and units one of {', '.join(UNITS)}"
            )
        self.form = form
        self._R_rep103_source = AXES[axes or form.axes]
        self._rescale = UNITS[units] / form.scale if units else 1.0
        self._trusted = bool(axes)  # set by the user, or an upright body was seen
        self._lies_since: int | None = None

    def body(
        self,
        points: F64,
        placement: Placement,
        stamp: int,
        body_id: str,
        confidence: F64 | None = None,
    ) -> BodyFrame:
        """Convert one body.

        Args:
            points: (n, 3) in the format's units; NaN or exactly 0, 0, 0 if not seen.
            placement: of the sender's frame.
            stamp: ns.
            body_id: of the body.
            confidence: (n,) of the points, 0 to 1; 1 by default.

        Raises:
            PallasError: too few points, or not a person standing on the floor (wrong units, axes or
                camera pose), or one who lies from the start.
        """
        points = np.where((points == 0).all(axis=-1, keepdims=True), np.nan, points)
        joints = self.form.joints(points) * self._rescale
        positions = (
            joints @ self._R_rep103_source.T
        ) @ placement.R_world_source.T + placement.p_world_source
        seen = np.asarray(np.isfinite(positions).all(axis=-1))
        check(positions)
        self._check_upright(positions, stamp)
        sure = np.ones(len(points)) if confidence is None else np.nan_to_num(confidence)
        least = np.where(self.form.weights > 0, sure, np.inf).min(axis=-1)
        return BodyFrame(
            stamp=stamp,
            rotations=rotations_from_positions(positions, _DEFAULT),
            positions=positions,
            covariance=None,
            valid=seen,
            confidence=np.where(seen, np.clip(least, 0.0, 1.0), 0.0),
            contacts=np.zeros(2),
            newest_input=stamp,
            body_id=body_id,
        )

    def _check_upright(self, positions: F64, stamp: int) -> None:
        """Refuse bodies that have been lying for `LYING_S`, until one has been upright."""
        trunk = positions[_SHOULDERS].mean(axis=0) - positions[_HIPS].mean(axis=0)
        if self._trusted or not np.isfinite(trunk).all():
            return
        tilt = float(np.arccos(np.clip(trunk[2] / max(np.linalg.norm(trunk), 1e-9), -1.0, 1.0)))
        if tilt < UPRIGHT:
            self._trusted = True
            return
        if self._lies_since is None or stamp < self._lies_since:
            self._lies_since = stamp
        if stamp - self._lies_since > LYING_S * 1e9:
            raise PallasError(
                f"a body whose trunk is {np.degrees(tilt):.0f} degrees from upright was reported"
                " from the start: set 'axes' to those of the estimator (optical, y_up or as_is), or"
                " the camera pose"
            )


def check(positions: F64) -> None:
    """Check that positions (22, 3) m, world, NaN if not seen, are those of a person on the floor.

    Raises:
        PallasError: nothing is seen, the limbs are not human, or the body is not on the floor.
    """
    if not np.isfinite(positions).any():
        raise PallasError("no joint of this body is visible")
    lengths = np.linalg.norm(positions[_BONES] - positions[_BONE_PARENTS], axis=-1)
    if np.isfinite(lengths).any():
        height = DEFAULT_HEIGHT_M * float(np.nanmedian(lengths / _DEFAULT.lengths[_BONES]))
        if not HEIGHTS_M[0] <= height <= HEIGHTS_M[1]:
            hint = (
                "the points seem to be in a different unit"
                if height > 10 or height < 0.1
                else "this is not a person, or the depth is wrong"
            )
            raise PallasError(
                f"a person {height:.2g} m tall was reported: {hint}; set 'units' to m, cm or mm"
            )
    lowest = float(np.nanmin(positions[:, 2]))
    ankles = positions[_ANKLES, 2]
    if lowest < -BELOW_FLOOR_M:
        raise PallasError(
            f"a body {-lowest:.1f} m below the floor was reported: set the camera pose, or 'axes'"
        )
    if np.isfinite(ankles).all() and lowest > ABOVE_FLOOR_M:
        raise PallasError(
            f"a body {lowest:.1f} m above the floor was reported: set the camera pose, or 'axes'"
        )
    head = positions[JOINT_INDEX["head"], 2]
    if np.isfinite(ankles).all() and head < ankles.min() - 0.3:
        raise PallasError(
            "an upside-down body was reported: set 'axes' to those of the estimator (optical,"
            " y_up or as_is)"
        )


def split_markers(
    markers: list[tuple[str, int, tuple[float, float, float]]], form: PoseFormat, body_id: str
) -> dict[str, F64]:
    """Group markers (namespace, id, position) by body: points (n, 3) of each, NaN without marker.

    With an ``id_stride`` in the format, the id identifies the body. Otherwise it is the namespace,
    or ``body_id`` if the namespace is empty.

    Raises:
        PallasError: an id does not belong to a point of the format.
    """
    out: dict[str, F64] = {}
    for namespace, number, position in markers:
        body, point = divmod(number, form.id_stride) if form.id_stride else (None, number)
        if not 0 <= point < len(form.points):
            raise PallasError(
                f"a marker with id {number} arrived, but the format {form.name} has"
                f" {len(form.points)} points: set 'format' to what the estimator publishes"
            )
        name = f"{body}" if body is not None else namespace or body_id
        out.setdefault(name, np.full((len(form.points), 3), np.nan))[point] = position
    return out


def place_body(body: BodyFrame, placement: Placement) -> BodyFrame:
    """Transform a body from another frame to the world frame.

    Raises:
        PallasError: it is not a person on the floor.
    """
    R = placement.R_world_source
    p = placement.p_world_source
    positions = body.positions @ R.T + p
    check(np.where(body.valid[:, None], positions, np.nan))
    return replace(
        body,
        positions=positions,
        rotations=np.asarray(rotations.multiply(rotations.from_matrix(R), body.rotations)),
        covariance=None if body.covariance is None else R @ body.covariance @ R.T,
    )
