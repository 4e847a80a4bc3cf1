"""How far this machine's nodes are heard, and the settings of Fast DDS: the same for every process
of the package.

By default nobody but this machine is heard or answered. A variable that the user has set always
wins.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from pallas_ros.body.resources import share
from pallas_ros.core.errors import PallasError

RANGES = ("localhost", "subnet")
"""What the option that widens discovery takes: this machine, or the whole network."""

RANGE_VARIABLE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_LOCALHOST_VARIABLE = "ROS_LOCALHOST_ONLY"  # ROS 2 Humble has no range
_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_OWN_SETTINGS = (*_PROFILE_VARIABLES, "RMW_FASTRTPS_USE_QOS_FROM_XML")
_PROFILES_HERE = ("DEFAULT_FASTDDS_PROFILES.xml", "DEFAULT_FASTRTPS_PROFILES.xml")
_BY_PROFILE = "SYSTEM_DEFAULT"  # ROS leaves discovery to the profile
_FAST_DDS_2 = ("humble", "iron", "jazzy")


def add_option(parser: argparse.ArgumentParser) -> None:
    """``--discovery``, of every command that takes part in the graph; its value is for
    `prepare`.
    """
    parser.add_argument(
        "--discovery",
        choices=RANGES,
        default="",
        help=(
            "who can find this program and is found by it: programs on this machine, or the whole"
            " network (default: as ROS_AUTOMATIC_DISCOVERY_RANGE says, else localhost)"
        ),
    )


def discovery(given: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that limit discovery: to ``given``, or where that is empty to this machine
    unless they are set already.

    Raises:
        PallasError: ``given`` is none of `RANGES`.
    """
    if given and given not in RANGES:
        raise PallasError(f"discovery '{given[:80]}' is none of {', '.join(RANGES)}")
    chosen: dict[str, str] = {}
    if given or not environment.get(RANGE_VARIABLE):
        chosen[RANGE_VARIABLE] = (given or "localhost").upper()
    if environment.get("ROS_DISTRO") == "humble" and (
        given or not environment.get(_LOCALHOST_VARIABLE)
    ):
        chosen[_LOCALHOST_VARIABLE] = "0" if given == "subnet" else "1"
    return chosen


def profile(
    environment: Mapping[str, str], middleware: str, folder: Path | None = None
) -> dict[str, str]:
    """The variables that load the package's Fast DDS profile; empty where it is not to be loaded.

    Args:
        environment: the process's, with `discovery` applied. Settings of Fast DDS that it names are
            the user's, and stay.
        middleware: the name of ROS's middleware layer; a profile is for ``rmw_fastrtps_…`` only.
        folder: where Fast DDS looks for a profile by itself; by default the working directory.
    """
    folder = folder or Path.cwd()
    files = share() / "config" / "fastdds"
    reach = environment.get(RANGE_VARIABLE, "").upper()
    given = [environment[name] for name in _OWN_SETTINGS if environment.get(name)]
    ours = [path for path in given if Path(path).parent == files]  # passed on by its parent
    if (
        "fastrtps" not in middleware
        or len(ours) < len(given)
        or (ours and reach == _BY_PROFILE)
        or any((folder / name).exists() for name in _PROFILES_HERE)
    ):
        return {}
    old = environment.get("ROS_DISTRO") in _FAST_DDS_2
    name = _PROFILE_VARIABLES[1 if old else 0]
    ros_decides = environment.get("ROS_STATIC_PEERS") or environment.get(_LOCALHOST_VARIABLE)
    if reach != "LOCALHOST" or ros_decides:
        return {name: str(files / "subnet.xml")}
    # The profile limits the sockets themselves. ROS would add transports of its own, on every
    # interface, next to it.
    return {name: str(files / "localhost.xml"), RANGE_VARIABLE: _BY_PROFILE}


def prepare(given: str = "") -> None:
    """Set this process's variables; to be called before `rclpy.init`.

    Args:
        given: one of `RANGES`; empty: as the environment says, else this machine.

    Raises:
        PallasError: ``given`` is none of `RANGES`.
    """
    from rclpy.utilities import get_rmw_implementation_identifier

    os.environ.update(discovery(given, os.environ))
    os.environ.update(profile(os.environ, get_rmw_implementation_identifier()))
