"""Virtual markers on the segments of a body, placed as on the measured person."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.dynamics.anthropometry import SIDES
from hpstm_ros.dynamics.points import stature, whole_body
from hpstm_ros.train.measured import Trial
from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX

F64 = NDArray[np.float64]


_PAIRS = (
    ("asis", "pelvis", ".ASIS"),
    ("psis", "pelvis", ".PSIS"),
    ("shoulder", "spine3", "_Shoulder"),
    ("sternum", "spine3", "_Sternum"),
    ("elbow_lat", "shoulder", "_elbow_lat"),
    ("elbow_med", "shoulder", "_elbow_med"),
    ("radius", "elbow", "_wrist_radius"),
    ("ulna", "elbow", "_wrist_ulna"),
    ("thigh", "hip", "_thigh1"),
    ("knee", "hip", "_knee"),
    ("shank", "knee", "_shank_antsup"),
    ("ankle", "knee", "_ankle"),
    ("heel", "ankle", "_calc"),
    ("toe", "ankle", "_toe"),
    ("metatarsal", "ankle", "_5meta"),
)


def _markers() -> dict[str, int]:
    """Marker name, in lower case as in the file, to the joint of its segment."""
    out = {"c7": JOINT_INDEX["spine3"]}
    for side in SIDES:
        for _, joint, suffix in _PAIRS:
            own = joint if joint in JOINT_INDEX else f"{side}_{joint}"
            out[f"{side[0]}{suffix}".lower()] = JOINT_INDEX[own]
    return out


MARKERS = _markers()


def marker_offsets(trials: Sequence[Trial]) -> F64:
    """Positions (31, 3) of `MARKERS` in the frames of their segments, as shares of stature: medians
    over the frames of the trials of one person.
    """
    found = []
    for trial in trials:
        motion = whole_body(trial.positions, trial.fps)
        height = stature(motion)
        R = np.asarray(rotations.to_matrix(motion.rotations))
        for name, joint in MARKERS.items():
            away = trial.markers[name] - motion.positions[:, joint]
            found.append(np.einsum("tji,tj->ti", R[:, joint], away) / height)
    parts = [np.concatenate(found[i :: len(MARKERS)]) for i in range(len(MARKERS))]
    return np.stack([np.nanmedian(part, axis=0) for part in parts])


def placed_markers(offsets: F64, height: float, positions: F64, R_world_joint: F64) -> F64:
    """Markers (T, 31, 3) m on a body's segments."""
    joints = list(MARKERS.values())
    turned = np.einsum("tpij,pj->tpi", R_world_joint[:, joints], offsets * height)
    return np.asarray(positions[:, joints] + turned)
