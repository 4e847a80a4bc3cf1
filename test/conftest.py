"""What all tests share: ROS tests apart from each other and from the machine, ROS and timing tests
one after the other.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported: two workers on two cores
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

# the ROS domain ids that are safe on every platform, but 0, which is everybody's
DOMAINS = range(1, 100)
_used = itertools.count()

settings.register_profile(
    "pallas", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("pallas")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `ros` (or that take `ros_domain`) or `timing` go to one worker of xdist (`--dist
    loadgroup`).
    """
    for item in items:
        if "ros_domain" in getattr(item, "fixturenames", ()):
            item.add_marker("ros")
        if item.get_closest_marker("ros") or item.get_closest_marker("timing"):
            item.add_marker(pytest.mark.xdist_group("serial"))


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[int]:
    """A ROS domain id that no other test on this machine has, set in the environment, with
    discovery limited to this machine.

    The test and the processes it starts are alone in it, and tests that follow each other have
    different ones: a process that a test kills leaves the shared memory of its ports, in which
    discovery waits. Skips where there is no ROS 2.
    """
    pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
    first = next(_used)
    for domain in (DOMAINS[(first + i) % len(DOMAINS)] for i in range(len(DOMAINS))):
        lock = (Path(tempfile.gettempdir()) / f"pallas-test-domain-{domain}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        break
    else:
        pytest.fail(f"all ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are taken by other tests")
    with lock:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        if os.environ.get("ROS_DISTRO") == "humble":
            monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
        monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "ros_log"))
        yield domain


@pytest.fixture
def ros_nodes(ros_domain: int) -> Iterator[list[Any]]:
    """rclpy, running in a ROS domain of its own; nodes appended to this list are stopped and
    destroyed at the end, the last one first.
    """
    import rclpy

    rclpy.init()
    nodes: list[Any] = []
    yield nodes
    for node in reversed(nodes):
        getattr(node, "stop", lambda: None)()
        node.destroy_node()
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recordings to test with ($PALLAS_DATA, else `../shared/data`); skips, visibly,
    where it is absent.
    """
    folder = Path(
        os.environ.get("PALLAS_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    )
    if not folder.is_dir():
        pytest.skip(f"no recordings in {folder}")
    return folder


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An IMU recording of four simulated sensors without noise: 8 s that begin with a
    still T-pose.
    """
    import numpy as np

    from pallas_ros import SITES, demo_motion
    from pallas_ros.body.motion import save_npz
    from pallas_ros.imu.virtual import SensorNoise, VirtualSensors

    tracks = VirtualSensors(SensorNoise.none(), seed=0).tracks(demo_motion(8.0), rate_hz=60.0)
    path = tmp_path_factory.mktemp("recording") / "raw.npz"
    save_npz(
        path,
        {
            "sites": np.array(SITES),
            "stamp": tracks["pelvis"].time,
            "orientation": np.stack([tracks[site].orientation for site in SITES], axis=1),
            "linear_acceleration": np.stack([tracks[site].acceleration for site in SITES], axis=1),
            "calibrated": np.array(False),
        },
    )
    return path
