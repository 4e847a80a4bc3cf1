"""A body in, supervised joint commands out: live (`Teleoperation`) and for a recorded motion."""

from hpstm_ros.teleoperation.teleoperation import (
    Bounds,
    Figures,
    Teleoperation,
    guard_of,
    limits_of,
)

__all__ = ["Bounds", "Figures", "Teleoperation", "guard_of", "limits_of"]
