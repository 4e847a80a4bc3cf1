"""Motion files of other tools as motion of the 22-joint body: BVH, AMASS/SMPL, Xsens MVNX, C3D and
TRC points, and this package's own.

No convention is assumed: joints, axes, facing, unit and rest pose are found from the skeleton and
its motion (`joints`, `axes`, `posing`), can be overridden, and the result is checked (`body`).

A format is a module with ``KIND``, ``SUFFIXES``, ``sniff(head) -> bool`` and ``read(path) ->
Source``, named in the entry-point group ``pallas.motion_files``; a package of yours can add one.
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
