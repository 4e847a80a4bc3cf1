"""Make Python use the ROS of this virtual environment and no other; `tools/setup.py` copies this
file into site-packages.

ROS finds libraries through LD_LIBRARY_PATH and packages through AMENT_PREFIX_PATH. The loader reads
the former only at process start, so a Python started without them restarts itself with them. A
sourced ROS installation (other libraries, often another Python) is excluded; a workspace built on
this environment is kept.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The wheels contain their own bootstrapper (ros_wheels_bootstrapper.pth), which reads only this.
GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"


def _split(value: str | None) -> list[str]:
    return [part for part in (value or "").split(os.pathsep) if part]


def _is_ros(prefix: Path) -> bool:
    return (prefix / "lib" / "librcl.so").exists()


def environment(env: dict[str, str], prefix: str) -> dict[str, str]:
    """Return `env` changed so that ROS is found in `prefix`; applying it twice has no further
    effect.
    """
    new = dict(env)
    own = Path(prefix)
    listed = [
        Path(p)
        for p in _split(env.get("AMENT_PREFIX_PATH")) + _split(env.get("COLCON_PREFIX_PATH"))
    ]
    listed += [
        Path(p).parent for p in _split(env.get("LD_LIBRARY_PATH")) if _is_ros(Path(p).parent)
    ]
    if any(_is_ros(p) and p != own for p in listed):

        def is_foreign(path: str) -> bool:
            return any(Path(path).is_relative_to(p) for p in listed if p != own)

        for name in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH"):
            if name in new:
                new[name] = os.pathsep.join(
                    part for part in _split(new[name]) if not is_foreign(part)
                )
        new.pop("COLCON_PREFIX_PATH", None)
        new["RMW_IMPLEMENTATION"] = "rmw_fastrtps_cpp"
    libraries = [
        str(own / "lib"),
        *map(str, sorted(own.glob("lib/python3.*/site-packages/ros_*.libs"))),
    ]
    for name, paths in (("LD_LIBRARY_PATH", libraries), ("AMENT_PREFIX_PATH", [str(own)])):
        parts = _split(new.get(name))
        new[name] = os.pathsep.join([*parts, *(path for path in paths if path not in parts)])
    new[GUARD] = "1"
    return new


def apply() -> None:
    """Restart this interpreter with the required environment, unless it is already set."""
    wanted = environment(dict(os.environ), sys.prefix)
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)


if __name__ == "ros_environment" and sys.prefix != sys.base_prefix:
    apply()
