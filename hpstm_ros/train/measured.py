"""Trials with measured ground reaction (OpenCap LabValidation, OpenSim inverse dynamics) as bodies.

The file contains joint angles of the Rajagopal (2016) model and joint centres. The centres were
computed with angles divided by 57.3 (radians interpreted as degrees): they contain the
dimensions of the model, not its motion. `read_trials` computes the dimensions from them, and
places the joints with the angles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.files.npz import load_npz

F64 = NDArray[np.float64]

R_WORLD_FILE: F64 = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""Rotation from y up, x forward, z right to x forward, y left, z up."""

_ANKLE = (0.10501355, 0.17402245, 0.97912632)
_SUBTALAR = (0.78717961, 0.60474746, -0.12094949)
_ELBOW = (0.22604696, 0.022269, 0.97386183)
_X = (1.0, 0.0, 0.0)
_Y = (0.0, 1.0, 0.0)
_Z = (0.0, 0.0, 1.0)


def _mirrored(axis: Sequence[float]) -> tuple[float, ...]:
    """Axis of the joint on the left side: reflected in the sagittal plane, with equal sign of the
    angle.
    """
    return (-axis[0], -axis[1], axis[2])


def _minus(axis: Sequence[float]) -> tuple[float, ...]:
    return tuple(-value for value in axis)


_Chain = tuple[str, str, tuple[tuple[str, tuple[float, ...]], ...]]


def _chains() -> tuple[_Chain, ...]:
    """(Proximal joint of a segment, that of its parent, sequence of (coordinate, axis)) of the
    model.
    """
    out: list[_Chain] = [
        ("pelvis", "", (("pelvis_tilt", _Z), ("pelvis_list", _X), ("pelvis_rotation", _Y))),
        (
            "lumbar",
            "pelvis",
            (("lumbar_extension", _Z), ("lumbar_bending", _X), ("lumbar_rotation", _Y)),
        ),
    ]
    for side in "rl":

        def own(axis: Sequence[float], side: str = side) -> tuple[float, ...]:
            return tuple(axis) if side == "r" else _mirrored(axis)

        out += [
            (
                f"hip_{side}",
                "pelvis",
                (
                    (f"hip_flexion_{side}", _Z),
                    (f"hip_adduction_{side}", own(_X)),
                    (f"hip_rotation_{side}", own(_Y)),
                ),
            ),
            (f"knee_{side}", f"hip_{side}", ((f"knee_angle_{side}", _minus(_Z)),)),
            (f"ankle_{side}", f"knee_{side}", ((f"ankle_angle_{side}", own(_ANKLE)),)),
            (f"heel_{side}", f"ankle_{side}", ((f"subtalar_angle_{side}", own(_SUBTALAR)),)),
            (
                f"shoulder_{side}",
                "lumbar",
                (
                    (f"arm_flex_{side}", _Z),
                    (f"arm_add_{side}", own(_X)),
                    (f"arm_rot_{side}", own(_Y)),
                ),
            ),
            (f"elbow_{side}", f"shoulder_{side}", ((f"elbow_flex_{side}", own(_ELBOW)),)),
        ]
    return tuple(out)


CHAINS = _chains()
_POINTS = (
    *((name, parent) for name, parent, _ in CHAINS if parent),
    *((f"toe_{side}", f"heel_{side}") for side in "rl"),
    *((f"wrist_{side}", f"elbow_{side}") for side in "rl"),
)
"""(Centre, segment to which it is fixed) for every centre except that of the pelvis."""
_NAMES = {
    "pelvis": "pelvis",
    "lumbar": "spine1",
    **{
        f"{part}_{side[0]}": f"{side}_{joint}"
        for side in ("left", "right")
        for part, joint in (
            *(("hip", "hip"), ("knee", "knee"), ("ankle", "ankle"), ("toe", "foot")),
            *(("shoulder", "shoulder"), ("elbow", "elbow"), ("wrist", "wrist")),
        )
    },
}
"""Centre -> joint of the body."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial, in the world (x forward, y left, z up).

    Attributes:
        name: of the trial.
        fps: Hz, frame rate.
        mass: kg.
        valid: (T,) whether the residual of the reference is small.
        positions: (T, 22, 3) m; NaN for joints that the model lacks.
        heels: (T, 2, 3) m, left and right.
        moments: coordinate -> (T,) Nm, of the reference.
        axes: coordinate -> (T, 3), unit, the world axis about which its moment acts on the distal
            segment.
        joints: coordinate -> index of the body's joint.
        ground_reaction: (T, 2, 6) left and right: force N, centre of pressure m.
        angles: coordinate -> (T,) rad, of the Rajagopal model.
        R_world_pelvis: (T, 3, 3), of the same model.
        markers: name in lower case -> (T, 3) m; NaN where not seen.
    """

    name: str
    fps: float
    mass: float
    valid: NDArray[np.bool_]
    positions: F64
    heels: F64
    moments: dict[str, F64]
    axes: dict[str, F64]
    joints: dict[str, int]
    ground_reaction: F64
    angles: dict[str, F64]
    R_world_pelvis: F64
    markers: dict[str, F64]

    @property
    def kind(self) -> str:
        """``walking``, ``squats`` or ``sit_to_stand``."""
        if "walking" in self.name:
            return "walking"
        return "squats" if "squat" in self.name else "sit_to_stand"


def read_trials(path: str | Path) -> list[Trial]:
    """The trials of a file like `dynamics_real.npz`.

    Raises:
        PallasError: the file is not such a file.
    """
    arrays = load_npz(path, "file of measured dynamics")
    try:
        names = [str(name) for name in arrays["trial"].reshape(-1)]
        centres = [str(name) for name in arrays["centre"].reshape(-1)]
        return [_read(arrays, name, centres) for name in names]
    except (KeyError, ValueError, IndexError) as error:
        raise PallasError(f"{path}: not a file of measured dynamics: {error}") from None


def _segments(angles: dict[str, F64]) -> dict[str, F64]:
    """Orientation (T, 3, 3) of every segment, and of the frames between a joint's axes
    ("joint:n")."""
    out: dict[str, F64] = {}
    for name, parent, turns in CHAINS:
        R = out[parent] if parent else np.broadcast_to(np.eye(3), (len(angles[turns[0][0]]), 3, 3))
        for number, (coordinate, axis) in enumerate(turns):
            out[f"{name}:{number}"] = R
            turn = Rotation.from_rotvec(angles[coordinate][:, None] * np.array(axis)).as_matrix()
            R = np.asarray(R @ turn)
        out[name] = R
    return out


def _read(arrays: dict[str, NDArray[Any]], trial: str, centres: list[str]) -> Trial:
    def of(key: str) -> NDArray[Any]:
        return arrays[f"{trial}/{key}"]

    names = [str(name) for name in of("coordinate")]
    q = {name: of("q")[:, i].astype(np.float64) for i, name in enumerate(names)}
    given = {name: of("centres")[:, i].astype(np.float64) for i, name in enumerate(centres)}
    straight = _segments({name: np.radians(value) for name, value in q.items()})
    turned = _segments(q)
    placed = {"pelvis": given["pelvis"]}
    for name, parent in _POINTS:
        offset = np.einsum("tji,tj->ti", straight[parent], given[name] - given[parent])
        fixed = np.median(offset, axis=0)
        placed[name] = placed[parent] + turned[parent] @ fixed
    positions = np.full((len(q[names[0]]), len(JOINTS), 3), np.nan)
    for centre, joint in _NAMES.items():
        positions[:, JOINT_INDEX[joint]] = placed[centre] @ R_WORLD_FILE.T
    axes, joints = _axes(turned)
    moments = {
        name: of("moment")[:, i].astype(np.float64) for i, name in enumerate(names) if name in axes
    }
    plates = of("grf").astype(np.float64)[:, ::-1]  # right and left in the file
    reaction = np.concatenate(
        (plates[..., :3] @ R_WORLD_FILE.T, plates[..., 3:6] @ R_WORLD_FILE.T), axis=-1
    )
    time = of("time").astype(np.float64)
    return Trial(
        name=trial,
        fps=float(1 / np.median(np.diff(time))),
        mass=float(of("mass")),
        valid=of("valid").astype(bool),
        positions=positions,
        heels=np.stack([placed["heel_l"], placed["heel_r"]], axis=1) @ R_WORLD_FILE.T,
        moments=moments,
        axes=axes,
        joints=joints,
        ground_reaction=reaction,
        angles=q,
        R_world_pelvis=R_WORLD_FILE @ turned["pelvis"] @ R_WORLD_FILE.T,
        markers={
            str(name).lower(): of("markers")[:, i].astype(np.float64) @ R_WORLD_FILE.T
            for i, name in enumerate(of("marker"))
        },
    )


def _axes(segments: dict[str, F64]) -> tuple[dict[str, F64], dict[str, int]]:
    """World axes (T, 3) of the coordinates of hips, knees, ankles and the lumbar joint, and the
    body's joints."""
    axes: dict[str, F64] = {}
    joints: dict[str, int] = {}
    for name, _, turns in CHAINS:
        if name.split("_")[0] not in ("hip", "knee", "ankle", "lumbar"):
            continue
        for number, (coordinate, axis) in enumerate(turns):
            axes[coordinate] = segments[f"{name}:{number}"] @ np.array(axis) @ R_WORLD_FILE.T
            joints[coordinate] = JOINT_INDEX[_NAMES[name]]
    return axes, joints
