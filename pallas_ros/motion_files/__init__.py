"""Load motion files of other tools as motion of the 22-joint body.

Supported are BVH, AMASS/SMPL, Xsens MVNX, C3D and TRC points, and this package's own format. No
convention is assumed: joints, axes, facing, unit and rest pose are inferred from the skeleton and
its motion (`joints`, `axes`, `posing`), can be overridden, and the result is validated (`body`).

A format is a module with ``KIND``, ``SUFFIXES``, ``sniff(head) -> bool`` and ``read(path) ->
Source``, registered in the entry-point group ``pallas.motion_files``; other packages can add
formats.
"""

from pallas_ros.motion_files.body import Overrides
from pallas_ros.motion_files.options import add_options, overrides_from
from pallas_ros.motion_files.reading import MotionFile, read, read_for_streaming, read_motion

__all__ = [
    "MotionFile",
    "Overrides",
    "add_options",
    "overrides_from",
    "read",
    "read_for_streaming",
    "read_motion",
]
