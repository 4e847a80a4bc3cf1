"""A robot arm as data: a URDF, and a short YAML that says how an operator's arm stands to it (docs/guide/robots.md)."""

from pathlib import Path

import yaml

from hpstm_ros.retarget.building import build
from hpstm_ros.retarget.description import Arm, Gripper, RobotDescription
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import share

__all__ = ["Arm", "Gripper", "RobotDescription", "load_robot", "ready_robots"]


def ready_robots() -> list[str]:
    """Names of the robots with a configuration in `config/robots`."""
    return sorted(path.stem for path in (share() / "config" / "robots").glob("*.yaml"))


def load_robot(name_or_path: str | Path) -> RobotDescription:
    """A robot by the name of its configuration (`ready_robots`), by the path of a YAML, or by that of a bare URDF.

    A bare URDF gets an automatic configuration: one arm, or a left and a right one, with the ready posture, the shoulder, the reach
    and the workspace derived from its geometry.

    Raises:
        PallasError: there is no such robot, or its files are not usable.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        path = Path(text).expanduser()
        if not path.is_file():
            raise PallasError(f"{path}: no such robot configuration")
    elif text.endswith((".urdf", ".xml", ".xacro")):
        return build(Path(text).stem, {"urdf": text}, Path.cwd())
    else:
        path = share() / "config" / "robots" / f"{text}.yaml"
        if "/" in text or not path.is_file():
            raise PallasError(
                f"no robot '{text}': give one of {', '.join(ready_robots())}, or the path of a URDF, xacro or YAML file"
            )
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PallasError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or "urdf" not in document:
        raise PallasError(f"{path}: a robot's configuration is a mapping with at least 'urdf'")
    try:
        return build(path.stem, document, path.parent)
    except PallasError as error:
        raise PallasError(f"{path}: {error}") from None
