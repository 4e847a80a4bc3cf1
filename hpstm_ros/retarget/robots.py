"""Loads robots: a URDF, and a short YAML file with the mapping from the operator's arm
(docs/guide/robots.md).
"""

import os
from pathlib import Path

from hpstm_ros.retarget.building import build
from hpstm_ros.retarget.description import Arm, Gripper, RobotDescription
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import expanded, share
from pallas_ros.files.yaml_text import load_yaml

__all__ = ["Arm", "Gripper", "RobotDescription", "load_robot", "ready_robots"]


def ready_robots() -> list[str]:
    """Names of the robots with a configuration in `config/robots`."""
    return sorted(path.stem for path in (share() / "config" / "robots").glob("*.yaml"))


def load_robot(name_or_path: str | Path) -> RobotDescription:
    """Load a robot by the name of its configuration (`ready_robots`), or the path of a YAML file or
    a URDF.

    For a URDF, the configuration is automatic: one arm, or a left and a right one, with ready
    posture, shoulder, reach and workspace derived from the geometry.

    Raises:
        PallasError: there is no such robot, or its files are unusable.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        path = expanded(text)
    elif text.endswith((".urdf", ".xml", ".xacro")):
        return build(Path(text).stem, {"urdf": text}, Path.cwd())
    else:
        path = share() / "config" / "robots" / f"{text}.yaml"
        if "/" in text or not os.path.exists(path):
            raise PallasError(
                f"no robot '{text}': give one of {', '.join(ready_robots())}, or the path of a"
                " URDF, xacro or YAML file"
            )
    document = load_yaml(path, "robot configuration")
    if not isinstance(document, dict) or "urdf" not in document:
        raise PallasError(f"{path}: a robot's configuration must be a mapping with at least 'urdf'")
    try:
        return build(path.stem, document, path.parent)
    except PallasError as error:
        raise PallasError(f"{path}: {error}") from None
