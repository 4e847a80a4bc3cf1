"""Discovery range and Fast DDS profile: only this machine by default, and user settings are
kept.
"""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pallas_ros.body.resources import share
from pallas_ros.core.errors import PallasError
from pallas_ros.ros import middleware

FAST_DDS = "rmw_fastrtps_cpp"
LOCAL = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def test_only_this_machine_by_default() -> None:
    assert middleware.discovery("", {}) == LOCAL
    assert middleware.discovery("", {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}) == {}
    wide = middleware.discovery("subnet", LOCAL)
    assert wide == {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
    assert middleware.discovery("", {"ROS_DISTRO": "humble"})["ROS_LOCALHOST_ONLY"] == "1"
    with pytest.raises(PallasError, match="discovery 'world' is not one of localhost, subnet"):
        middleware.discovery("world", {})


@pytest.mark.parametrize(
    "own",
    [
        {"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"},
        {"FASTRTPS_DEFAULT_PROFILES_FILE": "mine.xml"},
        {"RMW_FASTRTPS_USE_QOS_FROM_XML": "1"},
    ],
)
def test_settings_of_the_user_stay(own: dict[str, str], tmp_path: Path) -> None:
    assert middleware.profile(LOCAL, FAST_DDS, tmp_path)
    assert middleware.profile(LOCAL | own, FAST_DDS, tmp_path) == {}
    (tmp_path / "DEFAULT_FASTDDS_PROFILES.xml").write_text("<dds/>")
    assert middleware.profile(LOCAL, FAST_DDS, tmp_path) == {}


def test_another_middleware_is_left_alone(tmp_path: Path) -> None:
    assert middleware.profile(LOCAL, "rmw_cyclonedds_cpp", tmp_path) == {}
    assert middleware.profile(LOCAL, "rmw_zenoh_cpp", tmp_path) == {}


def test_each_range_has_its_profile(tmp_path: Path) -> None:
    subnet = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
    (name, path), *rest = middleware.profile(subnet, FAST_DDS, tmp_path).items()
    assert (name, Path(path).name, rest) == ("FASTDDS_DEFAULT_PROFILES_FILE", "subnet.xml", [])
    local = middleware.profile(LOCAL, FAST_DDS, tmp_path)
    assert Path(local["FASTDDS_DEFAULT_PROFILES_FILE"]).name == "localhost.xml"
    peers = middleware.profile(LOCAL | {"ROS_STATIC_PEERS": "10.0.0.2"}, FAST_DDS, tmp_path)
    assert Path(peers["FASTDDS_DEFAULT_PROFILES_FILE"]).name == "subnet.xml"
    old = middleware.profile(LOCAL | {"ROS_DISTRO": "jazzy"}, FAST_DDS, tmp_path)
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" in old


def test_what_a_process_of_pallas_passes_on_is_not_taken_for_the_users(tmp_path: Path) -> None:
    prepared = LOCAL | middleware.profile(LOCAL, FAST_DDS, tmp_path)
    assert middleware.discovery("", prepared) == {}
    assert middleware.profile(prepared, FAST_DDS, tmp_path) == {}
    widened = prepared | middleware.discovery("subnet", prepared)
    (path,) = middleware.profile(widened, FAST_DDS, tmp_path).values()
    assert Path(path).name == "subnet.xml"


def _bound(pid: int) -> set[str]:
    """Return the addresses that the UDP sockets of a process are bound to, in the format of
    /proc/net/udp.
    """
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        sockets.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return {words[1].split(":")[0] for words in lines if words[9] in sockets}


def test_both_profiles_shorten_the_wait_for_the_port_of_a_process_that_is_gone() -> None:
    files = sorted((share() / "config" / "fastdds").glob("*.xml"))
    assert [path.name for path in files] == ["localhost.xml", "subnet.xml"]
    for path in files:
        name = "{http://www.eprosima.com}"
        root = ElementTree.parse(path).getroot()
        transports = root.findall(f".//{name}transport_descriptor")
        shared = [each for each in transports if each.findtext(f"{name}type") == "SHM"]
        (transport,) = shared
        assert transport.findtext(f"{name}healthy_check_timeout_ms") == "10"
        used = [each.text for each in root.findall(f".//{name}userTransports/{name}transport_id")]
        assert transport.findtext(f"{name}transport_id") in used


class _JoinedError(Exception):
    """Raised where a command would join the graph."""


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove what limits discovery from the environment, and restore it afterwards."""
    for name in (*LOCAL, *middleware._OWN_SETTINGS, middleware._LOCALHOST_VARIABLE):
        monkeypatch.setenv(name, "")  # so that it is restored even if it is not set
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("words", "joins"),
    [
        (["view"], "pallas_ros.nodes.live.live"),
        (["record"], "pallas_ros.ros.run.main"),
        (["replay", "BAG"], "pallas_ros.nodes.player.playing"),
    ],
)
def test_a_command_joins_the_graph_of_this_machine_only(
    unset: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    joins: str,
) -> None:
    for needed in ("rclpy", "pallas.msg", "viser"):
        pytest.importorskip(needed)
    from pallas_ros import cli
    from pallas_ros.bags.writer import BagWriter

    monkeypatch.chdir(tmp_path)
    with BagWriter(tmp_path / "BAG"):
        pass
    seen: dict[str, str] = {}

    def join(*args: object) -> None:
        seen.update(os.environ)
        raise _JoinedError

    module, _, function = joins.rpartition(".")
    monkeypatch.setattr(importlib.import_module(module), function, join)
    monkeypatch.setattr(signal, "signal", lambda *args: None)
    args = [*words, "--port", "0"] if words == ["view"] else words
    with contextlib.suppress(_JoinedError):  # the command may report it instead
        cli.main(args)
    assert seen["ROS_AUTOMATIC_DISCOVERY_RANGE"] in ("LOCALHOST", "SYSTEM_DEFAULT")
    if seen["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SYSTEM_DEFAULT":
        (path,) = (seen[name] for name in middleware._PROFILE_VARIABLES if seen.get(name))
        assert Path(path).name == "localhost.xml"


@pytest.mark.skipif(not Path("/proc/net/udp").exists(), reason="reads Linux's list of sockets")
def test_no_socket_listens_beyond_this_machine(ros_domain: int) -> None:
    """With ROS's LOCALHOST alone they are bound to every interface."""
    pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")
    command = [sys.executable, "-m", "pallas_ros.nodes", "operator"]
    environment = {k: v for k, v in os.environ.items() if k not in middleware._PROFILE_VARIABLES}
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    with subprocess.Popen(
        command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert any(line.rstrip().endswith("active") for line in process.stdout)
        bound = _bound(process.pid)
        process.terminate()
    assert bound == {"0100007F"}  # 127.0.0.1
