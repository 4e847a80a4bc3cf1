"""Consistency of package.xml, pyproject.toml, setup.cfg, the lock file and the changelog."""

import configparser
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import pallas_ros

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SETUP_CFG = configparser.ConfigParser()
SETUP_CFG.read(ROOT / "setup.cfg")


def normal(requirement: str) -> str:
    """Return the normalised name of a requirement, as compared by package indexes."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def locked() -> dict[str, list[str]]:
    """Return {package: its lines} of the lock file."""
    pins: dict[str, list[str]] = {}
    for line in (ROOT / "requirements" / "lock.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pins.setdefault(normal(line), []).append(line)
    return pins


def test_package_xml_is_valid():
    package = pytest.importorskip("catkin_pkg.package").parse_package(str(ROOT))
    warnings: list[str] = []
    package.validate(warnings=warnings)
    assert not warnings
    assert package.package_format == 3
    assert package.get_build_type() == "ament_cmake"
    assert [group.name for group in package.member_of_groups] == ["rosidl_interface_packages"]


def test_versions_agree():
    package = pytest.importorskip("catkin_pkg.package").parse_package(str(ROOT))
    released = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    assert package.version == pallas_ros.__version__ == released[0]
    assert "version" in PROJECT["dynamic"], (
        "pyproject.toml takes the version from pallas_ros.__version__"
    )
    assert importlib.metadata.version("pallas-ros") == pallas_ros.__version__


def test_licence_is_the_same_everywhere_and_whole():
    package = pytest.importorskip("catkin_pkg.package").parse_package(str(ROOT))
    assert package.licenses == [PROJECT["license"]["text"]] == ["Apache-2.0"]
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_package_xml_names_every_package_whose_messages_are_imported():
    package = pytest.importorskip("catkin_pkg.package").parse_package(str(ROOT))
    declared = {dependency.name for dependency in package.exec_depends}
    sources = "\n".join(
        path.read_text()
        for top in ("pallas_ros", "hpstm_ros")
        for path in (ROOT / top).rglob("*.py")
    )
    imported = set(
        re.findall(r"^\s*(?:from|import) (\w+_(?:msgs|interfaces|srvs))\b", sources, re.M)
    )
    assert "sensor_msgs" in imported
    assert imported <= declared


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_lock_pins_every_dependency(extra: str):
    pins = locked()
    for requirement in (
        PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    ):
        assert normal(requirement) in pins, f"{requirement}: run `make lock`"


def test_lock_is_fully_pinned_and_names_no_machine():
    for name, lines in locked().items():
        for line in lines:
            assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+( ; .+)?", line), line
        assert len(lines) == 1 or all(" ; " in line for line in lines), f"{name} is pinned twice"
        assert not name.startswith(("nvidia-", "cuda-")), "torch's own affair"


def test_lock_contains_the_installed_packages():
    """The tests run in the locked environment, so that they also pass in a fresh clone."""
    pins = locked()
    wrong = []
    for name in ("numpy", "ros-rclpy", "onnxruntime", "rosbags", "mujoco", "torch"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if not any(
            line.split(" ;")[0] == f"{name}=={version.split('+')[0]}" for line in pins[name]
        ):
            wrong.append(f"{name} {version}")
    if wrong and not (ROOT / ".venv").exists():
        pytest.skip(f"not in the environment of make setup: {wrong}")
    assert not wrong


@pytest.mark.parametrize("group", ["pallas.nodes", "pallas.commands"])
def test_entry_points_are_those_of_setup_cfg(group: str):
    wanted = dict(
        line.split(" = ") for line in SETUP_CFG["options.entry_points"][group].strip().splitlines()
    )
    found = {entry.name: entry.value for entry in importlib.metadata.entry_points(group=group)}
    assert found == wanted, "run `make setup`"


@pytest.mark.parametrize("group", ["pallas.nodes", "pallas.commands"])
def test_entry_points_name_modules_that_are_there(group: str):
    for line in SETUP_CFG["options.entry_points"][group].strip().splitlines():
        name, value = line.split(" = ")
        module, _, attribute = value.partition(":")
        source = ROOT / (module.replace(".", "/") + ".py")
        assert source.exists(), f"{name}: {source} is missing"
        assert not attribute or re.search(rf"^class {attribute}\b", source.read_text(), re.M), (
            f"{name}: no class {attribute}"
        )


def test_every_folder_of_code_is_a_package():
    """Pip, colcon and the import checks skip a folder without __init__.py."""
    for top in ("pallas_ros", "hpstm_ros"):
        for source in (ROOT / top).rglob("*.py"):
            assert (source.parent / "__init__.py").exists(), source.parent
