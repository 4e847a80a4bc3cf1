"""`make setup`: its decisions, without installing anything, and the environment it gives Python."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    """Load a script of tools/ as a module without running it."""
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


setup = load("setup")
ros_environment = load("ros_environment")


@pytest.fixture
def ros(tmp_path: Path) -> dict[str, Path]:
    """Folders that imitate an environment of wheels, a foreign ROS, and workspaces on either."""
    folders = {name: tmp_path / name for name in ("venv", "foreign", "workspace")}
    for folder in folders.values():
        (folder / "lib").mkdir(parents=True)
    for name in ("venv", "foreign"):
        (folders[name] / "lib" / "librcl.so").touch()
    (folders["venv"] / "lib" / "python3.11" / "site-packages" / "ros_rcl.libs").mkdir(parents=True)
    return folders


def test_environment_finds_the_wheels_and_is_stable(ros: dict[str, Path]):
    once = ros_environment.environment({"HOME": "/home/me"}, str(ros["venv"]))
    assert once["AMENT_PREFIX_PATH"] == str(ros["venv"])
    assert once["LD_LIBRARY_PATH"].split(":") == [
        str(ros["venv"] / "lib"),
        *map(str, ros["venv"].glob("lib/*/*/ros_rcl.libs")),
    ]
    assert ros_environment.environment(once, str(ros["venv"])) == once


def test_environment_keeps_a_workspace_built_on_the_wheels(ros: dict[str, Path]):
    workspace = str(ros["workspace"])
    sourced = {
        "AMENT_PREFIX_PATH": workspace,
        "LD_LIBRARY_PATH": f"{workspace}/lib",
        "PYTHONPATH": f"{workspace}/lib/python",
    }
    found = ros_environment.environment(sourced, str(ros["venv"]))
    assert found["AMENT_PREFIX_PATH"].split(":") == [workspace, str(ros["venv"])]
    assert found["LD_LIBRARY_PATH"].startswith(f"{workspace}/lib:")
    assert found["PYTHONPATH"] == sourced["PYTHONPATH"]


def test_environment_leaves_a_foreign_ros_out(ros: dict[str, Path]):
    foreign = str(ros["foreign"])
    workspace = str(ros["workspace"])
    sourced = {
        "AMENT_PREFIX_PATH": f"{workspace}:{foreign}",
        "LD_LIBRARY_PATH": f"{workspace}/lib:{foreign}/lib/x86_64:{foreign}/lib:/opt/cuda/lib",
        "PYTHONPATH": f"{foreign}/lib/python3.10/site-packages:/home/me/python",
        "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp",
        "ROS_DOMAIN_ID": "7",
    }
    found = ros_environment.environment(sourced, str(ros["venv"]))
    assert foreign not in json.dumps(found)
    assert workspace not in json.dumps(found)
    assert found["AMENT_PREFIX_PATH"] == str(ros["venv"])
    assert found["LD_LIBRARY_PATH"].startswith("/opt/cuda/lib:")
    assert found["PYTHONPATH"] == "/home/me/python"
    assert found["RMW_IMPLEMENTATION"] == "rmw_fastrtps_cpp"
    assert found["ROS_DOMAIN_ID"] == "7"
    assert ros_environment.environment(found, str(ros["venv"])) == found


@pytest.mark.skipif(
    not (ROOT / ".venv/setup-stamps.json").exists(), reason="not an environment of make setup"
)
def test_python_of_the_environment_has_ros_with_nothing_exported():
    code = (
        "import sys, rclpy, pallas.msg, pallas.srv, tf2_msgs.msg, pallas_ros, hpstm_ros;"
        " print(sys.argv[1:])"
    )
    bare = {name: os.environ[name] for name in ("HOME",) if name in os.environ}
    found = subprocess.run(
        [ROOT / ".venv/bin/python", "-c", code, "a b", ""],
        env=bare,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (found.stdout, found.stderr) == ("['a b', '']\n", "")


def test_digest_is_of_contents_not_of_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    (tmp_path / "msg").mkdir()
    file = tmp_path / "msg" / "A.msg"
    file.write_text("bool a")
    before = setup.digest(tmp_path / "msg", "3.11")
    os.utime(file, (1, 1))
    assert setup.digest(tmp_path / "msg", "3.11") == before
    assert setup.digest(tmp_path / "msg", "3.12") != before
    file.write_text("bool b")
    changed = setup.digest(tmp_path / "msg", "3.11")
    assert changed != before
    file.rename(tmp_path / "msg" / "B.msg")
    assert setup.digest(tmp_path / "msg", "3.11") != changed


def interpreter(version: tuple[int, int, int], headers: bool = True, venv: bool = True) -> object:
    return setup.Interpreter("/usr/bin/python3", version, "CPython", headers, venv)


def test_an_unsuitable_python_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(setup, "examine", lambda python: interpreter((3, 13, 1)))
    monkeypatch.delenv("PYTHON", raising=False)
    with pytest.raises(
        setup.SetupError,
        match=r"wheels for CPython 3.10, 3.11 and 3.12, and here is CPython 3.13.1.*install one",
    ) as refused:
        setup.find_python()
    assert "\n" not in str(refused.value)


def test_python_named_on_the_command_line_is_the_only_candidate(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(setup, "examine", lambda python: asked.append(python))
    monkeypatch.setenv("PYTHON", "python3.12")
    with pytest.raises(setup.SetupError, match=r"here is no python3.12"):
        setup.find_python()
    assert asked == ["python3.12"]


def test_missing_tools_are_named_as_apt_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        setup.shutil, "which", lambda tool: None if tool in ("cmake", "g++") else tool
    )
    with pytest.raises(
        setup.SetupError, match=r"sudo apt-get install cmake g\+\+ python3.10-venv python3.10-dev$"
    ):
        setup.check_machine(interpreter((3, 10, 12), headers=False, venv=False))
    monkeypatch.setattr(setup.shutil, "which", lambda tool: tool)
    setup.check_machine(interpreter((3, 10, 12)))


def test_a_ros_that_is_sourced_does_not_reach_the_build(monkeypatch: pytest.MonkeyPatch):
    for name in (
        "AMENT_PREFIX_PATH",
        "CMAKE_PREFIX_PATH",
        "PYTHONPATH",
        "LD_LIBRARY_PATH",
        "ROS_DISTRO",
        "MAKEFLAGS",
    ):
        monkeypatch.setenv(name, "/opt/ros/humble")
    assert "/opt/ros/humble" not in setup.clean_environment().values()


def test_a_failed_step_shows_its_last_words_and_where_the_rest_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    monkeypatch.setattr(setup, "WORK", tmp_path / "build")
    (tmp_path / "build").mkdir()
    command = [sys.executable, "-c", "print('the compiler says no'); raise SystemExit(1)"]
    with pytest.raises(setup.SetupError, match=r"build/step\.log"):
        setup.run(command, "step.log", setup.Progress(), lambda _: "", dict(os.environ))
    assert "the compiler says no" in capsys.readouterr().err
    command = [
        sys.executable,
        "-c",
        "print('ERROR: No matching distribution found for ros-rclpy==9.1.2'); raise SystemExit(1)",
    ]
    with pytest.raises(setup.SetupError, match=r"^there is no package ros-rclpy==9.1.2 for Python"):
        setup.run(command, "step.log", setup.Progress(), lambda _: "", dict(os.environ))


def test_stamps_survive_a_crash_and_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(setup, "STAMPS", tmp_path / "stamps.json")
    stamps = setup.Stamps()
    stamps.set("venv", "1")
    stamps.set("packages", "2")
    assert setup.Stamps().fits("packages", "2")
    assert not setup.Stamps().fits("packages", "3")
    assert not setup.Stamps().fits("messages", "2")
    (tmp_path / "stamps.json").write_text('{"venv": ')
    assert not setup.Stamps().fits("venv", "1")


def test_a_killed_step_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(setup, "WORK", tmp_path)
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    with pytest.raises(setup.SetupError, match="was killed by signal 9; run `make setup` again"):
        setup.run(command, "step.log", setup.Progress(), lambda _: "", dict(os.environ))
