"""Settings of the retargeting objects from the node's parameters."""

from collections.abc import Mapping
from typing import Any

from hpstm_ros.retarget.settings import MAPPING, RetargetSettings
from hpstm_ros.safety.limits import SupervisorSettings
from hpstm_ros.safety.people import OperatorSettings
from hpstm_ros.teleoperation.teleoperation import Bounds


def retarget_settings(s: Mapping[str, Any]) -> RetargetSettings:
    """The mapping of the operator's motion to the robot's."""
    return RetargetSettings(**{name: s[name] for name in MAPPING})


def supervisor_settings(s: Mapping[str, Any]) -> SupervisorSettings:
    """The supervisor's rate, time limits and requirements."""
    return SupervisorSettings(
        period=1 / s["rate_hz"],
        lead=s["lead_s"],
        body_timeout=s["body_timeout_s"],
        max_body_age=s["max_body_age_s"],
        max_measurement_age=s["max_measurement_age_s"],
        operator_absence=s["operator_absence_s"],
        feedback_timeout=s["feedback_timeout_s"],
        require_feedback=s["require_feedback"],
        require_dead_man=s["require_dead_man"],
        dead_man_timeout=s["dead_man_timeout_s"],
        deviation=s["deviation_rad"],
        delivery_timeout=s["delivery_timeout_s"],
        emergency_stop=s["emergency_stop_mode"],
        emergency_stop_timeout=s["emergency_stop_timeout_s"],
    )


def operator_settings(s: Mapping[str, Any]) -> OperatorSettings:
    """Which person becomes the operator."""
    x, y = s["operator_place"]
    return OperatorSettings(s["operator_id"], s["operator_choice"], (x, y))


def bounds(launched: Mapping[str, Any], tip_speed: float) -> Bounds:
    """The upper bounds of settings at run time.

    Args:
        launched: the parameters with which the process started, whatever they are now.
        tip_speed: the robot's own limit in m/s.
    """
    return Bounds(
        launched["tip_speed_limit"] or launched["tip_speed"] or tip_speed,
        launched["stop_deviation_limit_m"] or launched["stop_deviation_m"],
    )
