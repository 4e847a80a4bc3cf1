"""Visual meshes of a robot from its URDF, simplified for drawing and placed by joint angles."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.files.mesh import check_mesh
from pallas_ros.files.opening import read_bytes
from pallas_ros.files.urdf import parse_urdf
from pallas_ros.files.xml_text import MAX_BYTES
from pallas_ros.view.raster import Mesh

if TYPE_CHECKING:
    import yourdfpy

F64 = NDArray[np.float64]
_GREY = np.array([205.0, 208.0, 212.0])


@dataclass(eq=False)
class RobotShape:
    """Meshes of the links, and the joints that place them.

    Attributes:
        urdf: model of yourdfpy.
        links: link name to mesh in the link's frame.
    """

    urdf: "yourdfpy.URDF"
    links: dict[str, Mesh]

    @classmethod
    def load(cls, path: str | Path, detail_m: float = 0.02) -> "RobotShape":
        """Read a URDF and its meshes; details smaller than ``detail_m`` are merged.

        Raises:
            PallasError: the URDF or a mesh cannot be read.
        """
        path = Path(path)
        return cls.parse(read_bytes(path, "URDF", MAX_BYTES), path.parent, str(path), detail_m)

    @classmethod
    def parse(
        cls, text: bytes, folder: Path, name: str, detail_m: float = 0.02, meshes: bool = True
    ) -> "RobotShape":
        """Like `load`, from the text of a URDF.

        Args:
            text: of the URDF.
            folder: folder in whose ancestors packages of ``package://`` addresses are searched.
            name: for messages.
            detail_m: vertices closer than this are merged.
            meshes: False to load only joints, without shapes.

        Raises:
            PallasError: yourdfpy is missing, or the URDF cannot be read.
        """
        parse_urdf(text, name)
        try:
            import yourdfpy  # optional dependency: bodies are drawn without it
        except ModuleNotFoundError:
            raise PallasError(
                "drawing a robot needs the Python package yourdfpy: pip install 'pallas-ros[view]'"
            ) from None
        try:
            urdf = yourdfpy.URDF.load(
                io.BytesIO(text),
                filename_handler=lambda fname: _find(fname, folder),
                build_collision_scene_graph=False,
                load_collision_meshes=False,
                build_scene_graph=True,
                load_meshes=meshes,
            )
        except PallasError:
            raise
        except Exception as error:  # mesh readers may raise anything for a hostile file
            raise PallasError(
                f"{name}: this URDF cannot be drawn: {type(error).__name__}: {error}"
            ) from None
        links: dict[str, Mesh] = {}
        if not meshes:
            return cls(urdf, {})
        scene = urdf.scene
        for node in scene.graph.nodes_geometry:
            parent = scene.graph.transforms.parents.get(node, node)
            transform, geometry = scene.graph.get(node, frame_from=parent)
            part = scene.geometry[geometry]
            if not len(getattr(part, "faces", ())):  # vertices or lines only: nothing to draw
                continue
            mesh = thin(
                np.asarray(part.vertices) @ transform[:3, :3].T + transform[:3, 3],
                np.asarray(part.faces),
                _face_colours(part),
                detail_m,
            )
            links[parent] = _join(links[parent], mesh) if parent in links else mesh
        return cls(urdf, links)

    @property
    def joint_names(self) -> list[str]:
        """Names of the moving joints."""
        return list(self.urdf.actuated_joint_names)

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """Lower and upper limits by name, rad (m for prismatic joints), of the moving joints for
        which the URDF states both.
        """
        found: dict[str, tuple[float, float]] = {}
        for name in self.joint_names:
            limit = self.urdf.joint_map[name].limit
            if (
                limit is not None
                and limit.lower is not None
                and limit.upper is not None
                and limit.lower < limit.upper
            ):
                found[name] = (float(limit.lower), float(limit.upper))
        return found

    def transforms(self, joints: dict[str, float]) -> dict[str, F64]:
        """Pose (4, 4) of each link in the base link, for joint angles in rad by name; 0 for joints
        without an angle.
        """
        self._set(joints)
        return {link: np.asarray(self.urdf.get_transform(link)) for link in self.links}

    @property
    def base_link(self) -> str:
        """Name of the root link."""
        return str(self.urdf.base_link)

    def link_transforms(self, joints: dict[str, float]) -> list[tuple[str, str, F64, F64]]:
        """Parent link, child link, position (3,) m and orientation (4,) xyzw of every joint of the
        URDF.
        """
        self._set(joints)
        out: list[tuple[str, str, F64, F64]] = []
        for joint in self.urdf.robot.joints:
            pose = np.asarray(self.urdf.get_transform(joint.child, joint.parent))
            out.append(
                (
                    str(joint.parent),
                    str(joint.child),
                    np.asarray(pose[:3, 3]),
                    np.asarray(rotations.from_matrix(pose[:3, :3])),
                )
            )
        return out

    def place(self, joints: dict[str, float], base: F64) -> Mesh:
        """The meshes in the world; ``base`` (4, 4) is the pose of the base link."""
        meshes = [self.links[link] for link in self.links]
        if not meshes:  # a URDF may contain joints only
            return Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64), np.zeros((0, 3)))
        poses = self.transforms(joints)
        moved = [
            mesh.vertices @ (base @ poses[link])[:3, :3].T + (base @ poses[link])[:3, 3]
            for link, mesh in self.links.items()
        ]
        starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
        faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts)])
        return Mesh(np.concatenate(moved), faces, np.concatenate([mesh.colours for mesh in meshes]))

    def _set(self, joints: dict[str, float]) -> None:
        angles = np.array([float(joints.get(name, 0.0)) for name in self.urdf.actuated_joint_names])
        self.urdf.update_cfg(np.where(np.isfinite(angles), angles, 0.0))


def thin(vertices: F64, faces: NDArray[np.int64], colours: F64, detail_m: float) -> Mesh:
    """Merge the vertices of a mesh on a grid; degenerate triangles are dropped.

    Args:
        vertices: (n, 3) m.
        faces: (m, 3) indices.
        colours: (m, channels) of the faces.
        detail_m: spacing of the grid.
    """
    cells = np.round(vertices / detail_m).astype(np.int64)
    _, merged = np.unique(cells, axis=0, return_inverse=True)
    merged = merged.reshape(-1)
    count = np.bincount(merged)
    mean = np.stack(
        [np.bincount(merged, weights=vertices[:, axis]) / count for axis in range(3)], axis=1
    )
    new = merged[faces]
    whole = (new[:, 0] != new[:, 1]) & (new[:, 1] != new[:, 2]) & (new[:, 2] != new[:, 0])
    new = new[whole]
    colours = colours[whole]
    _, kept = np.unique(np.sort(new, axis=1), axis=0, return_index=True)
    return Mesh(mean, new[kept], colours[kept])


def _join(a: Mesh, b: Mesh) -> Mesh:
    faces = np.concatenate((a.faces, b.faces + len(a.vertices)))
    return Mesh(
        np.concatenate((a.vertices, b.vertices)), faces, np.concatenate((a.colours, b.colours))
    )


def _face_colours(part: object) -> F64:
    """Colours (F, 3) of the faces of a mesh: face colours, else the material, else grey."""
    visual = getattr(part, "visual", None)
    count = len(part.faces)  # type: ignore[attr-defined]
    try:
        if visual is not None and visual.kind in ("face", "vertex"):
            return np.asarray(visual.face_colors[:, :3], dtype=float)
        if visual is not None and getattr(visual, "material", None) is not None:
            return np.tile(np.asarray(visual.material.main_color[:3], dtype=float), (count, 1))
    except (AttributeError, ValueError, IndexError, TypeError):
        pass
    return np.tile(_GREY, (count, 1))


def _find(name: str, folder: Path) -> str:
    """Find a mesh file beside the URDF, or for ``package://pkg/...`` in a folder ``pkg`` at or
    above it.
    """
    plain = name.removeprefix("file://")
    if name.startswith(("package://", "model://")):
        plain = name.split("://", 1)[1]
        bases = [folder, *folder.parents]
    else:
        bases = [folder]
    for base in bases:
        candidate = base / plain
        if os.path.exists(candidate):
            check_mesh(candidate)
            return str(candidate.resolve())
    raise PallasError(
        f"{name}: the URDF names this mesh, but it is neither beside it nor in a folder above"
    )
