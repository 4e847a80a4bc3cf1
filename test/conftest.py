"""Shared fixtures: ROS tests are isolated from each other and from the machine; ROS and timing
tests run sequentially.
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
    """Set a ROS domain ID that no other test on this machine uses, with discovery limited to this
    machine.

    The test and its processes are isolated, and consecutive tests have different domains: a killed
    process leaves the shared memory of its ports, which delays discovery. Skips without ROS 2.
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
    """Initialise rclpy in a separate ROS domain; nodes appended to this list are stopped and
    destroyed at the end, last one first.
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
    """Return the folder of test recordings ($PALLAS_DATA, else `../shared/data`); skip if it is
    missing.
    """
    folder = Path(
        os.environ.get("PALLAS_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    )
    if not folder.is_dir():
        pytest.skip(f"no recordings in {folder}")
    return folder


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An IMU recording of four simulated sensors without noise: 8 s, starting with a still
    T-pose.
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
