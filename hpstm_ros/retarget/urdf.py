"""Robot descriptions from files: finding a URDF, reading it as untrusted input, and building its
Pinocchio model.
"""

import contextlib
import importlib.metadata
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pinocchio as pin

from hpstm_ros.retarget import expansion, plausible
from hpstm_ros.retarget.tree import Tree, parse
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import expanded
from pallas_ros.files.mesh import check_mesh
from pallas_ros.files.opening import read_bytes
from pallas_ros.files.urdf import check_counts, check_urdf
from pallas_ros.files.xml_text import MAX_BYTES, parse_xml

_EXAMPLES = "example-robot-data"
_PREFIX = f"{_EXAMPLES}:"


def example_folder() -> Path:
    """The folder of the robots of example-robot-data, from its wheel or a ROS installation.

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
            "robot descriptions are not installed: pip install example-robot-data, or apt install"
            " ros-$ROS_DISTRO-example-robot-data"
        )
    return found


def find(location: str, beside: Path | None = None) -> Path:
    """The URDF at ``location``: a path (if relative, also tried relative to ``beside``) or
    ``example-robot-data:FILE``.

    Raises:
        PallasError: there is no such file.
    """
    if location.startswith(_PREFIX):
        path = example_folder() / location.removeprefix(_PREFIX)
    else:
        path = expanded(location)
        if not path.is_absolute() and beside is not None and not os.path.exists(path):
            path = beside / path
    if not os.path.exists(path):
        raise PallasError(f"{path}: no such URDF; give a file or {_PREFIX}<robot>/urdf/<file>.urdf")
    return path


def read(path: Path) -> str:
    """The text of a URDF; xacro files are expanded.

    Raises:
        PallasError: the file is not a URDF, not a plausible robot (`pallas_ros.files.urdf`), or a
            xacro file that cannot be expanded.
    """
    root = parse_xml(read_bytes(path, "URDF", MAX_BYTES), str(path), "URDF")
    if expansion.needed(path, root):
        root = parse_xml(expansion.expanded(path).encode(), str(path), "URDF")
    _drop_prefixed(root)
    check_counts(root, str(path))
    try:
        parse(root)  # so that errors name the joint
    except PallasError as error:
        raise PallasError(f"{path}: {error}") from None
    check_urdf(root, str(path))
    return ElementTree.tostring(root, encoding="unicode")


def _drop_prefixed(root: ElementTree.Element) -> None:
    """Remove elements and attributes with a namespace prefix, which belong to other programs.

    Many URDFs do not declare their prefixes; `ElementTree` rejects these when it reads them again.
    """
    for element in root.iter():
        for name in [name for name in element.attrib if ":" in name]:
            del element.attrib[name]
        for child in [child for child in element if ":" in child.tag]:
            element.remove(child)


def package_folders(path: Path) -> list[str]:
    """Folders that may contain ``package://NAME`` of this URDF: its ancestors, ROS workspaces,
    example-robot-data.
    """
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
    """The text for `/robot_description`, with local paths for ``package://`` meshes that exist on
    this machine.
    """
    root = ElementTree.fromstring(text)
    folders = [Path(folder) for folder in package_folders(path)]
    for mesh in root.iter("mesh"):
        name = mesh.get("filename", "")
        if name.startswith("package://"):
            place = _place(name, folders)
            mesh.set("filename", f"file://{place}" if os.path.exists(place) else name)
    return ElementTree.tostring(root, encoding="unicode")


def _place(name: str, folders: list[Path]) -> Path:
    """The path of the mesh ``name`` of a URDF; the first candidate if none exists."""
    plain = name.removeprefix("file://")
    if plain.startswith("package://"):  # some exporters add a third slash
        plain = plain.removeprefix("package://").lstrip("/")
    places = [folder / plain for folder in folders]
    return next((place for place in places if os.path.exists(place)), places[0])


def full_model(text: str, tree: Tree, following: set[str]) -> pin.Model:
    """The Pinocchio model of a URDF's text, with all joints free except the mimic joints
    ``following``.

    A continuous joint becomes a revolute joint with very large limits, so that its angle is a
    single unwrapped number.

    Raises:
        PallasError: Pinocchio rejects the URDF.
    """
    root = ElementTree.fromstring(text)
    for element in root.findall("joint"):
        joint = tree.by_name[element.get("name", "")]
        element.set("name", tree.model_name(joint))
        if joint.kind == "continuous":
            element.set("type", "revolute")
            for old in element.findall("limit"):
                element.remove(old)
            ElementTree.SubElement(
                element,
                "limit",
                lower=str(-math.pi),
                upper=str(math.pi),
                velocity=str(joint.velocity),
                effort=str(joint.effort),
            )
        for old in element.findall("mimic"):
            element.remove(old)
        if joint.mimic is not None and joint.name in following:
            ElementTree.SubElement(
                element,
                "mimic",
                joint=tree.model_name(tree.by_name[joint.mimic.joint]),
                multiplier=str(joint.mimic.multiplier),
                offset=str(joint.mimic.offset),
            )
    options = {"mimic": True} if following else {}
    try:
        with native_errors() as messages:
            model = pin.buildModelFromXML(ElementTree.tostring(root, encoding="unicode"), **options)
    except (ValueError, RuntimeError) as error:
        raise PallasError(_reason(error, messages)) from None
    if model.nq == 0:
        raise PallasError("it has no joints that move")
    plausible.check_model(model)
    return model


@contextlib.contextmanager
def native_errors() -> Iterator[list[str]]:
    """Context that captures the standard error of C++ libraries, as lines in the yielded list."""
    lines: list[str] = []
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def _reason(error: Exception, messages: list[str]) -> str:
    """Why a library rejected a URDF: its first message on the standard error, which names the joint
    or link, or else the exception's.
    """
    for line in messages:
        kind, _, reason = line.partition(":")
        if kind.strip().lower() == "error" and reason.strip():
            return reason.strip()[:300]
    return f"Pinocchio cannot read it: {(str(error).splitlines() or [''])[0][:300]}"


def geometry(path: Path, text: str, model: pin.Model, kind: pin.GeometryType) -> pin.GeometryModel:
    """The collision or visual geometry of ``model``, meshes loaded.

    Raises:
        PallasError: a mesh is missing, or not safe to load.
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
            f"its meshes cannot be loaded: {str(error).rpartition('message:')[2]}"
        ) from None
    plausible.check_geometry(shapes)
    return shapes
