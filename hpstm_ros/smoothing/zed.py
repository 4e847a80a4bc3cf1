"""People in the ZED camera message ``ObjectsStamped``: points and body format.

The fields are accessed by name, so this module does not need the package ``zed_msgs``.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]

FORMATS: Final = {0: "zed_18", 1: "zed_34", 2: "zed_38"}
"""``body_format`` of an object -> the pose format (`config/adapters`)."""
_POINTS: Final = {0: 18, 1: 34, 2: 38}
_PACKAGES: Final = ("zed_msgs", "zed_interfaces")
"""Packages with the message; the second is the older name."""
_TRACKED = 1
_MOST_SURE = 100.0


@dataclass(frozen=True, eq=False)
class ZedPerson:
    """One person.

    Attributes:
        body_id: the camera's id of the person.
        format: of the points, a name of `FORMATS`.
        points: (n, 3) m in the frame of the message's header, NaN if not seen.
        confidence: (n,) 0 to 1.
    """

    body_id: str
    format: str
    points: F64
    confidence: F64


def message_type() -> type[Any]:
    """The class ``ObjectsStamped``.

    Raises:
        PallasError: none of the packages that define it is installed.
    """
    for package in _PACKAGES:
        try:
            return importlib.import_module(f"{package}.msg").ObjectsStamped  # type: ignore[no-any-return]
        except (ImportError, AttributeError):
            continue
    raise PallasError(
        "zed_msgs is not installed, the package of the ZED messages: install"
        " ros-<distro>-zed-msgs (or build zed-ros2-interfaces) and source it, or choose another"
        " 'message'"
    )


def people(message: Any, body_id: str) -> list[ZedPerson]:
    """The people in a message that the camera currently sees.

    People that are only predicted (state *searching*) or lost are omitted, since they were not
    measured.

    Args:
        message: ``ObjectsStamped``.
        body_id: for a person without an id, if tracking is off.

    Raises:
        PallasError: a skeleton has an unknown format.
    """
    return [
        _person(found, body_id)
        for found in message.objects
        if found.skeleton_available
        and not (found.tracking_available and found.tracking_state != _TRACKED)
    ]


def _person(found: Any, body_id: str) -> ZedPerson:
    kind = int(found.body_format)
    if kind not in FORMATS:
        raise PallasError(
            f"the camera sends body format {kind}, which has no adapter: set its 'body_format' to "
            "BODY_18, BODY_34 or BODY_38"
        )
    count = _POINTS[kind]
    points = np.array([point.kp for point in found.skeleton_3d.keypoints[:count]], dtype=np.float64)
    sure = np.array(found.skeleton_keypoint_confidence[:count], dtype=np.float64) / _MOST_SURE
    tracked = found.tracking_available and int(found.label_id) >= 0
    return ZedPerson(
        body_id=str(int(found.label_id)) if tracked else body_id,
        format=FORMATS[kind],
        points=points.reshape(-1, 3),
        confidence=np.clip(np.nan_to_num(sure, nan=0.0, posinf=0.0), 0.0, 1.0),
    )
