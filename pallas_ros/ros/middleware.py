"""Discovery range and Fast DDS settings, shared by every process of the package.

By default only nodes on this machine are discovered. Variables set by the user always take
precedence.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from pallas_ros.body.resources import share
from pallas_ros.core.errors import PallasError

RANGES = ("localhost", "subnet")
"""Values of the option that sets the discovery range: this machine, or the whole network."""

RANGE_VARIABLE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_LOCALHOST_VARIABLE = "ROS_LOCALHOST_ONLY"  # ROS 2 Humble has no discovery range
_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_OWN_SETTINGS = (*_PROFILE_VARIABLES, "RMW_FASTRTPS_USE_QOS_FROM_XML")
_PROFILES_HERE = ("DEFAULT_FASTDDS_PROFILES.xml", "DEFAULT_FASTRTPS_PROFILES.xml")
_BY_PROFILE = "SYSTEM_DEFAULT"  # leave discovery to the Fast DDS profile
_FAST_DDS_2 = ("humble", "iron", "jazzy")


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--discovery`` to a command that joins the graph; its value is for `prepare`."""
    parser.add_argument(
        "--discovery",
        choices=RANGES,
        default="",
        help=(
            "discovery range: programs on this machine, or the whole network (default:"
            " ROS_AUTOMATIC_DISCOVERY_RANGE, else localhost)"
        ),
    )


def discovery(given: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that set the discovery range.

    If ``given`` is empty, the range is this machine, unless the variables are already set.

    Raises:
        PallasError: ``given`` is not one of `RANGES`.
    """
    if given and given not in RANGES:
        raise PallasError(f"discovery '{given[:80]}' is not one of {', '.join(RANGES)}")
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
    """Return the environment variables that load the package's Fast DDS profile; may be empty.

    Args:
        environment: the process's environment after `discovery`. Fast DDS settings in it are the
            user's and are kept.
        middleware: name of the RMW implementation; the profile applies to ``rmw_fastrtps_…`` only.
        folder: where Fast DDS looks for a default profile; by default the working directory.
    """
    folder = folder or Path.cwd()
    files = share() / "config" / "fastdds"
    reach = environment.get(RANGE_VARIABLE, "").upper()
    given = [environment[name] for name in _OWN_SETTINGS if environment.get(name)]
    ours = [path for path in given if Path(path).parent == files]  # inherited from the parent
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
    # The profile restricts the sockets themselves. ROS would add its own transports, on every
    # interface.
    return {name: str(files / "localhost.xml"), RANGE_VARIABLE: _BY_PROFILE}


def prepare(given: str = "") -> None:
    """Set the variables of this process; call before `rclpy.init`.

    Args:
        given: one of `RANGES`; empty: from the environment, else this machine.

    Raises:
        PallasError: ``given`` is not one of `RANGES`.
    """
    from rclpy.utilities import get_rmw_implementation_identifier

    os.environ.update(discovery(given, os.environ))
    os.environ.update(profile(os.environ, get_rmw_implementation_identifier()))
