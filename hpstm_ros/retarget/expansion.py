"""Expansion of xacro files by the `xacro` package, if it is installed."""

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from pallas_ros.body.errors import PallasError

_NAMESPACE = "{http://www.ros.org/wiki/xacro}"
_SUFFIX = ".xacro"


def needed(path: Path, root: ElementTree.Element) -> bool:
    """Whether a file is xacro, by its name or its elements."""
    return path.suffix == _SUFFIX or any(
        element.tag.startswith((_NAMESPACE, "xacro:")) for element in root.iter()
    )


def expanded(path: Path) -> str:
    """The URDF of a xacro file, with its default arguments.

    Raises:
        PallasError: xacro is not installed, or cannot expand the file.
    """
    stem = path.name.removesuffix(_SUFFIX).removesuffix(".urdf")
    by_hand = f"xacro {path.name} NAME:=VALUE > {stem}_expanded.urdf"
    try:
        import xacro
    except ImportError:
        raise PallasError(
            f"{path}: this is a xacro file, but the package xacro is not installed: pip install"
            " xacro (or apt install ros-$ROS_DISTRO-xacro)"
        ) from None
    try:
        with _own_packages(path), contextlib.redirect_stderr(io.StringIO()):
            return str(xacro.process_file(str(path)).toxml())
    except Exception as error:  # xacro passes on exceptions of the macros' expressions
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PallasError(
            f"{path}: xacro cannot expand it: {reason}; if it needs arguments, expand it yourself:"
            f" {by_hand}"
        ) from None


@contextlib.contextmanager
def _own_packages(path: Path) -> Iterator[None]:
    """Context in which ``$(find NAME)`` finds the ROS packages that contain a file, without a
    sourced workspace.
    """
    before = os.environ.get("AMENT_PREFIX_PATH")
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "share" / "ament_index" / "resource_index" / "packages"
        index.mkdir(parents=True)
        for parent in list(path.resolve().parents)[:8]:
            name = _package(parent / "package.xml")
            if name and not (index / name).exists():
                (index / name).touch()
                (Path(folder) / "share" / name).symlink_to(parent, target_is_directory=True)
        os.environ["AMENT_PREFIX_PATH"] = os.pathsep.join(filter(None, (folder, before)))
        try:
            yield
        finally:
            if before is None:
                del os.environ["AMENT_PREFIX_PATH"]
            else:
                os.environ["AMENT_PREFIX_PATH"] = before


def _package(manifest: Path) -> str:
    """The name of the ROS package of a ``package.xml``, or empty."""
    try:
        name = (ElementTree.parse(manifest).getroot().findtext("name") or "").strip()
    except (OSError, ElementTree.ParseError):
        return ""
    return name if re.fullmatch(r"\w[\w-]*", name) else ""
