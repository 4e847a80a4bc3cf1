"""Dynamics files: forces over time, as a ``.npz`` without pickles."""

from pathlib import Path

import numpy as np

from hpstm_ros.dynamics.anthropometry import SIDES
from hpstm_ros.dynamics.offline import Dynamics
from hpstm_ros.dynamics.rigid_body import EXTRA_CONTACTS
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import save_npz
from pallas_ros.body.names import JOINTS
from pallas_ros.files.npz import load_npz


def save_dynamics(path: str | Path, dynamics: Dynamics) -> None:
    """Write a dynamics file (docs/guide/dynamics.md); unknown frames contain NaN."""
    known = dynamics.valid
    arrays = {
        "t": dynamics.t,
        "joint_names": np.array(JOINTS),
        "moment": _masked(dynamics.moment, known),
        "ground_reaction": _masked(dynamics.ground_reaction, known),
        "residual": _masked(dynamics.residual, known),
        "valid": known,
        "flight": dynamics.flight & known,
        "mass": np.float64(dynamics.mass),
        "load": np.array([dynamics.loads[side] for side in SIDES]),
        "positions": _masked(dynamics.positions, known),
        "centre_of_mass": _masked(dynamics.centre, known),
        "floor": np.float64(dynamics.floor),
    }
    extra = {name: _masked(force, known) for name, force in dynamics.extra.items()}
    save_npz(path, {**arrays, **extra})


def _masked(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    out = values.astype(np.float64)
    out[~known] = np.nan
    return out


def load_dynamics(path: str | Path) -> Dynamics:
    """Read a dynamics file.

    Raises:
        PallasError: the file is not a dynamics file.
    """
    arrays = load_npz(path, "dynamics file")
    needed = ("t", "joint_names", "moment", "ground_reaction", "residual", "valid")
    for key in needed:
        if key not in arrays:
            raise PallasError(f"{path}: not a dynamics file, because it contains no '{key}'")
    count = arrays["t"].size
    shapes = {
        "t": (count,),
        "moment": (count, len(JOINTS), 3),
        "ground_reaction": (count, 2, 6),
        "residual": (count, 6),
        "valid": (count,),
        "flight": (count,),
        "positions": (count, len(JOINTS), 3),
        "centre_of_mass": (count, 3),
        "load": (2,),
        "mass": (),
        "floor": (),
        **dict.fromkeys(EXTRA_CONTACTS, (count, 3)),
    }
    for key, shape in shapes.items():
        if key in arrays and (arrays[key].shape != shape or arrays[key].dtype.kind not in "fiub"):
            raise PallasError(
                f"{path}: '{key}' has shape {arrays[key].shape}, expected numbers of shape {shape}"
            )
    load = arrays.get("load", np.zeros(2))
    return Dynamics(
        t=arrays["t"],
        moment=arrays["moment"],
        ground_reaction=arrays["ground_reaction"],
        residual=arrays["residual"],
        valid=arrays["valid"].astype(bool),
        flight=arrays.get("flight", np.zeros(count, bool)).astype(bool),
        mass=float(arrays.get("mass", np.array(np.nan))),
        loads={side: float(load[k]) for k, side in enumerate(SIDES)},
        positions=arrays.get("positions", np.full((count, len(JOINTS), 3), np.nan)),
        centre=arrays.get("centre_of_mass", np.full((count, 3), np.nan)),
        floor=float(arrays.get("floor", np.array(0.0))),
        extra={name: arrays[name] for name in EXTRA_CONTACTS if name in arrays},
    )
