"""The built wheel in an empty environment: all imported dependencies are declared."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from pallas_ros import BagWriter, demo_motion, save_motion
from pallas_ros.bags import Qos

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def pallas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `pallas`, installed from the wheel with the extra `robot` and the pinned
    versions.
    """
    folder = tmp_path_factory.mktemp("wheel")
    # from a copy: a build leaves `*.egg-info` behind, which would shadow the editable installation
    source = folder / "source"
    leave_out = shutil.ignore_patterns(".venv", ".git", "build", "out", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=leave_out, symlinks=True)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", folder, source], check=True, capture_output=True)
    (wheel,) = folder.glob("pallas_ros-*.whl")
    venv.create(folder / "venv", with_pip=True)
    install = [folder / "venv/bin/pip", "install", "-c", ROOT / "requirements/lock.txt"]
    done = subprocess.run([*install, f"{wheel}[robot]"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "venv/bin/pallas"


def run(command: Path, *arguments: object) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [command, *map(str, arguments)],
        cwd=command.parent,
        env=clean,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_commands_of_the_wheel(pallas: Path, recording: Path, tmp_path: Path) -> None:
    body, smooth, joints = (tmp_path / name for name in ("body.npz", "smooth.npz", "joints.npz"))
    run(pallas, "process", recording, body)
    run(pallas, "smooth", body, smooth)
    run(pallas, "export-motion", smooth, tmp_path / "body.bvh")
    run(pallas, "export-motion", smooth, tmp_path / "body.csv")
    save_motion(tmp_path / "demo.npz", demo_motion(4.0))
    run(pallas, "retarget", tmp_path / "demo.npz", joints, "--robot", "ur5", "--arm", "right")


def test_report_of_a_bag(pallas: Path, tmp_path: Path) -> None:
    body_to_bytes = pytest.importorskip("pallas_ros.messages.wire").body_to_bytes
    frames = pytest.importorskip("hpstm_ros.teleoperation.recorded").frames
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/pallas/body", "pallas/msg/BodyPose", Qos(reliable=False))
        for body in frames(demo_motion(2.0), start=10**9):
            bag.write("/pallas/body", body.stamp + 2_000_000, body_to_bytes(body))
    run(pallas, "report", tmp_path / "bag")
    assert (tmp_path / "bag.html").stat().st_size > 10_000
