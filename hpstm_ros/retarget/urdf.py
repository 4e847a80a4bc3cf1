"""Robot descriptions from files: finding a URDF, reading it as the untrusted text it is, and its Pinocchio model."""

import importlib.metadata
import math
import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pinocchio as pin

from hpstm_ros.retarget import plausible
from pallas_ros.body.errors import PallasError
from pallas_ros.files.mesh import check_mesh
from pallas_ros.files.opening import exists, read_bytes
from pallas_ros.files.urdf import parse_urdf
from pallas_ros.files.xml_text import MAX_BYTES

_EXAMPLES = "example-robot-data"
_PREFIX = f"{_EXAMPLES}:"


def example_folder() -> Path:
    """The folder of example-robot-data's robots, from its wheel or from a ROS installation.

    Raises:
        PallasError: it is not installed.
    """
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix and (folder := Path(prefix) / "share" / _EXAMPLES / "robots").is_dir():
            return folder
    try:
        found = Path(
            str(
                importlib.metadata.distribution(_EXAMPLES).locate_file(
                    f"cmeel.prefix/share/{_EXAMPLES}/robots"
                )
            )
        )
    except importlib.metadata.PackageNotFoundError:
        found = Path("-")
    if not found.is_dir():
        raise PallasError(
            "robot descriptions are not installed: pip install example-robot-data, or apt install ros-$ROS_DISTRO-example-robot-data"
        )
    return found


def find(location: str, beside: Path | None = None) -> Path:
    """The URDF that ``location`` names: a path (relative ones also seen from ``beside``) or ``example-robot-data:FILE``."""
    if location.startswith(_PREFIX):
        path = example_folder() / location.removeprefix(_PREFIX)
    else:
        path = Path(location).expanduser()
        if not path.is_absolute() and beside is not None and not exists(path):
            path = beside / path
    if not exists(path):
        raise PallasError(f"{path}: no such URDF; give a file or {_PREFIX}<robot>/urdf/<file>.urdf")
    return path


def read(path: Path) -> str:
    """The text of a URDF, with every ``continuous`` joint made revolute over two turns, because limits must be finite.

    Raises:
        PallasError: the file is no URDF, or no plausible robot (`pallas_ros.files.urdf`).
    """
    root = parse_urdf(read_bytes(path, "URDF", MAX_BYTES), str(path))
    for joint in root.iter("joint"):
        if joint.get("type") == "continuous":
            joint.set("type", "revolute")
            limit = joint.find("limit")
            if limit is None:
                limit = ElementTree.SubElement(joint, "limit", effort="0", velocity="0")
            limit.set("lower", str(-2 * math.pi))
            limit.set("upper", str(2 * math.pi))
    return ElementTree.tostring(root, encoding="unicode")


def package_folders(path: Path) -> list[str]:
    """Folders in which ``package://NAME`` of this URDF may lie: its own ancestors, ROS workspaces, example-robot-data."""
    folders = [str(parent) for parent in list(path.resolve().parents)[:5]]
    folders += [
        str(Path(prefix) / "share")
        for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
        if prefix
    ]
    folders += [
        entry for entry in os.environ.get("ROS_PACKAGE_PATH", "").split(os.pathsep) if entry
    ]
    try:
        folders.append(str(example_folder().parent.parent))
    except PallasError:
        pass
    return folders


def published(path: Path, text: str) -> str:
    """The text as `/robot_description` carries it: ``package://`` meshes that are on this machine by their place, for whoever draws them."""
    root = ElementTree.fromstring(text)
    folders = [Path(folder) for folder in package_folders(path)]
    for mesh in root.iter("mesh"):
        name = mesh.get("filename", "")
        if name.startswith("package://"):
            place = _place(name, folders)
            mesh.set("filename", f"file://{place}" if exists(place) else name)
    return ElementTree.tostring(root, encoding="unicode")


def _place(name: str, folders: list[Path]) -> Path:
    """Where the mesh lies that a URDF calls ``name``; the first place it may be, where it is in none."""
    plain = name.removeprefix("file://").removeprefix("package://")
    places = [folder / plain for folder in folders]
    return next((place for place in places if exists(place)), places[0])


def full_model(path: Path, text: str) -> pin.Model:
    """The Pinocchio model of a URDF's text, all joints free."""
    try:
        model = pin.buildModelFromXML(text)
    except (ValueError, RuntimeError) as error:
        raise PallasError(
            f"{path}: Pinocchio cannot read it: {str(error).splitlines()[0]}"
        ) from None
    if model.nq != model.nv or model.nq == 0:
        raise PallasError(
            f"{path}: it has no joints that move, or ones other than hinges and slides"
        )
    finite = all(
        np.isfinite(v).all()
        for v in (model.lowerPositionLimit, model.upperPositionLimit, model.velocityLimit)
    )
    if not finite or (model.lowerPositionLimit > model.upperPositionLimit).any():
        raise PallasError(f"{path}: a joint's limits are not finite or stand the wrong way round")
    plausible.check_model(path, model)
    return model


def geometry(path: Path, text: str, model: pin.Model, kind: pin.GeometryType) -> pin.GeometryModel:
    """The collision or visual geometry of ``model``, meshes loaded.

    Raises:
        PallasError: a mesh is missing, or no mesh that a library should see.
    """
    folders = package_folders(path)
    which = "collision" if kind == pin.GeometryType.COLLISION else "visual"
    parts = ElementTree.fromstring(text).iter(which)
    for mesh in {mesh.get("filename", "") for part in parts for mesh in part.iter("mesh")}:
        check_mesh(_place(mesh, [path.parent, *map(Path, folders)]))
    try:
        shapes = pin.buildGeomFromUrdfString(model, text, kind, package_dirs=folders)
    except (ValueError, RuntimeError) as error:
        raise PallasError(
            f"{path}: its meshes cannot be loaded: {str(error).rpartition('message:')[2]}"
        ) from None
    plausible.check_geometry(path, shapes)
    return shapes
