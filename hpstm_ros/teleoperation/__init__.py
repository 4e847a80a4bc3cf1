"""From bodies to supervised joint commands, live (`Teleoperation`) and for recorded motion."""

from hpstm_ros.teleoperation.teleoperation import (
    Bounds,
    Figures,
    Teleoperation,
    guard_of,
    limits_of,
)

__all__ = ["Bounds", "Figures", "Teleoperation", "guard_of", "limits_of"]
