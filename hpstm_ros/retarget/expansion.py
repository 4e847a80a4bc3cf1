"""Expansion of xacro files by the `xacro` package, if it is installed, in a restricted process."""

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from pallas_ros.body.errors import PallasError
from pallas_ros.files.opening import read_bytes
from pallas_ros.files.xml_text import parse_xml

CPU_S = 5
"""Maximum CPU time of an expansion; a robot of 100 links takes under a second."""
_WALL_S = 60
_NAMESPACE = "{http://www.ros.org/wiki/xacro}"
_SUFFIX = ".xacro"
_MANIFEST_BYTES = 1 << 20
_START = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\n');"
    "from hpstm_ros.retarget.xacro_process import main; main()"
)


def needed(path: Path, root: ElementTree.Element) -> bool:
    """Whether a file is xacro, by its name or its elements."""
    return path.suffix == _SUFFIX or any(
        element.tag.startswith((_NAMESPACE, "xacro:")) for element in root.iter()
    )


def expanded(path: Path) -> str:
    """The URDF of a xacro file, with its default arguments.

    Raises:
        PallasError: xacro is not installed, or cannot expand the file within the limits of
            `xacro_process`.
    """
    stem = path.name.removesuffix(_SUFFIX).removesuffix(".urdf")
    by_hand = f"xacro {path.name} NAME:=VALUE > {stem}_expanded.urdf"
    if importlib.util.find_spec("xacro") is None:
        raise PallasError(
            f"{path}: this is a xacro file, but the package xacro is not installed: pip install"
            " xacro (or apt install ros-$ROS_DISTRO-xacro)"
        )
    answer = _answer(path)
    if "text" in answer:
        return answer["text"]
    reason = " ".join(answer["reason"].split())[:200]
    raise PallasError(
        f"{path}: xacro cannot expand it: {reason}; if it needs arguments, expand it yourself:"
        f" {by_hand}"
    )


def _answer(path: Path) -> dict[str, str]:
    """The text of an expansion, or the reason why there is none."""
    # Isolated (-I), without the current folder: a robot's folder may contain a file xacro.py.
    modules = "\n".join(os.path.abspath(entry) for entry in sys.path if entry)
    set_here = json.dumps(sorted(os.environ))  # names only
    command = [sys.executable, "-I", "-c", _START, modules, str(path), str(CPU_S), set_here]
    try:
        with _own_packages(path) as environment:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_WALL_S,
                check=False,
            )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"reason": f"it takes more than {_WALL_S} s"}
    except ValueError:
        return {"reason": _ended_by(done.returncode)}
    return {str(key): str(value) for key, value in answer.items()}


def _ended_by(status: int) -> str:
    """Why the process ended without an answer."""
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"it takes more than {CPU_S} s of CPU time, or too much memory"
    return f"the process of xacro ended with status {status}"


@contextlib.contextmanager
def _own_packages(path: Path) -> Iterator[dict[str, str]]:
    """Context with an environment in which ``$(find NAME)`` finds the ROS packages that contain a
    file, without a sourced workspace; it has no other variables of this process.
    """
    environment = {
        name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PATH") if name in os.environ
    }
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "share" / "ament_index" / "resource_index" / "packages"
        index.mkdir(parents=True)
        for parent in list(path.resolve().parents)[:8]:
            name = _package(parent / "package.xml")
            if name and not (index / name).exists():
                (index / name).touch()
                (Path(folder) / "share" / name).symlink_to(parent, target_is_directory=True)
        prefixes = (folder, os.environ.get("AMENT_PREFIX_PATH"))
        environment["AMENT_PREFIX_PATH"] = os.pathsep.join(filter(None, prefixes))
        yield environment


def _package(manifest: Path) -> str:
    """The name of the ROS package of a ``package.xml``, or empty."""
    what = "package manifest"
    try:
        root = parse_xml(read_bytes(manifest, what, _MANIFEST_BYTES), str(manifest), what)
    except PallasError:
        return ""
    name = (root.findtext("name") or "").strip()
    return name if re.fullmatch(r"\w[\w-]{0,99}", name) else ""
