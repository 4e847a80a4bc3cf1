"""`pallas eval dynamics`: inverse dynamics against force plates and OpenSim's moments, and HDyS
against both."""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hpstm_ros.dynamics.anthropometry import GRAVITY
from hpstm_ros.dynamics.human import Human
from hpstm_ros.dynamics.offline import CUTOFF_HZ, Dynamics, analyse, measured_offsets
from hpstm_ros.dynamics.points import stature, whole_body
from hpstm_ros.dynamics.rigid_body import RigidBodySettings
from hpstm_ros.train.measured import Trial, read_trials
from pallas_ros.data.library import MotionLibrary
from pallas_ros.files.json_output import check_json, write_json

HELP = "Evaluate joint moments and ground reaction on trials with force plates."

F64 = NDArray[np.float64]
Row = dict[str, str | float]

_LOADED_N = 20.0
"""A force plate with a smaller force counts as unloaded (the usual threshold of gait analysis)."""
_PRESSURE_SHARE = 0.3
"""Share of body weight above which centres of pressure are compared; those that a force plate
measures at smaller forces are noise.
"""
_RESAMPLED = 1000
_BLOCK_S = 0.5
"""Frames are resampled in blocks of this length, since neighbours are alike."""
_COORDINATES = ("hip_flexion", "hip_adduction", "knee_angle", "ankle_angle")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--measured",
        default="../shared/data/dynamics_real.npz",
        help="trials with force plates and reference moments",
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=[],
        metavar="[NAME=]FILE",
        help="HDyS weights (.safetensors) to measure, each under its own name; for all but the"
        " first, only with the keypoints as input",
    )
    parser.add_argument(
        "--bodies",
        metavar="FILE",
        help="PALLAS weights (.safetensors): also measure the forces of its bodies",
    )
    parser.add_argument(
        "--data",
        default="../shared/data",
        help="folder of the motion packs, for --model and --bodies",
    )
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="of unseen subjects' motion, for both"
    )
    parser.add_argument(
        "--simulated",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="of that motion as a simulated person follows it: measure the simulation, rigid-body "
        "forces and HDyS on it",
    )
    parser.add_argument("--sex", default="mean", choices=("mean", "female", "male"))
    parser.add_argument(
        "--cutoff", type=float, default=CUTOFF_HZ, help="cutoff of the low-pass filter in Hz"
    )
    parser.add_argument("--json", metavar="F", help="also write every figure there")


def run(args: argparse.Namespace) -> int:
    """Run the evaluation, and print or write the figures.

    Raises:
        PallasError: an input is missing or invalid.
    """
    check_json(args.json)
    trials = read_trials(args.measured)
    pairs: dict[str, list[Pairs]] = {}
    for trial in tqdm(trials, unit=" trials", disable=None):
        found = of_trial(trial, args.sex, args.cutoff)
        pairs.setdefault(trial.kind, []).append(Pairs.of(trial, found))
    rows = [row for kind, several in pairs.items() for row in rows_of(kind, several)]
    rows += _networks(args, trials)
    rows += _bodies(args)
    rows += _simulated(args)
    for row in rows:
        interval = f"[{row['low']:.3f}, {row['high']:.3f}] " if "low" in row else ""
        print(
            f"{row['name']:18s} {row['case']:22s} {row['metric']:28s} {row['value']:8.3f} "
            f"{interval}{row['unit']}"
        )
    if args.json:
        write_json({"rows": rows}, args.json)
    return 0


def _networks(args: argparse.Namespace, trials: list[Trial]) -> list[Row]:
    """Figures of the requested networks, on people and trials not used for training."""
    if not args.model:
        return []
    from hpstm_ros.train.dynamics.evaluate import (
        REPRESENTATIONS,
        hdys_rows,
    )  # needs torch, the rest does not
    from hpstm_ros.train.dynamics.released import load_model
    from hpstm_ros.train.dynamics.train_command import split_domains

    models = {}
    for given in args.model:
        name, _, path = given.rpartition("=")
        models[name or "hdys"] = load_model(path)[0]
    library = MotionLibrary.open(args.data, alignment="bent")
    domains = split_domains(
        library, trials, ("unseen_subjects",), args.minutes, held_out=True, simulated=args.simulated
    )
    rows = []
    for number, (name, step) in enumerate(models.items()):
        read = REPRESENTATIONS if number == 0 else REPRESENTATIONS[:1]
        rows += hdys_rows(step, domains, name, read)
    return rows


def _bodies(args: argparse.Namespace) -> list[Row]:
    """Figures of the forces of PALLAS's bodies, if requested."""
    if not args.bodies:
        return []
    from hpstm_ros.train.dynamics.bodies import body_rows
    from hpstm_ros.train.dynamics.data import stretches

    library = MotionLibrary.open(args.data)
    parts = stretches(library, ("unseen_subjects",), args.minutes)
    return body_rows(library, parts, Path(args.bodies))


def _simulated(args: argparse.Namespace) -> list[Row]:
    """Figures of the simulated person, if requested."""
    if not args.simulated:
        return []
    from hpstm_ros.train.dynamics.data import stretches
    from hpstm_ros.train.dynamics.simulated_check import simulated_rows  # needs MuJoCo

    library = MotionLibrary.open(args.data, alignment="bent")
    return simulated_rows(library, stretches(library, ("unseen_subjects",), args.simulated))


def of_trial(trial: Trial, sex: str = "mean", cutoff: float = CUTOFF_HZ) -> Dynamics:
    """The forces of a trial, from its joint positions alone."""
    motion = whole_body(trial.positions, trial.fps)
    human = Human(measured_offsets(motion), trial.mass, stature(motion), sex)
    extra = ("seat",) if trial.kind == "sit_to_stand" else ()
    return analyse(motion, human, RigidBodySettings(extra=extra), cutoff=cutoff)


class Pairs:
    """Estimates and measurements of a trial's valid frames, in blocks.

    Attributes:
        block: (n,) number of the block that a frame is of.
        columns: name -> (n, k) estimates and (n, k) measurements; NaN where there is no comparison.
    """

    def __init__(self, block: NDArray[np.intp], columns: dict[str, tuple[F64, F64]]) -> None:
        self.block = block
        self.columns = columns

    @classmethod
    def of(cls, trial: Trial, found: Dynamics) -> "Pairs":
        """Of what was found in a trial; forces in body weights, moments in Nm/kg, places in cm."""
        good = trial.valid & found.valid
        weight = trial.mass * GRAVITY
        own = found.ground_reaction[good]
        plates = trial.ground_reaction[good]
        columns = {
            "grf_vertical": (own[..., 2] / weight, plates[..., 2] / weight),
            "grf_vertical_total": (
                own[..., 2].sum(axis=1, keepdims=True) / weight,
                plates[..., 2].sum(axis=1, keepdims=True) / weight,
            ),
            "cop": _pressures(own, plates, weight),
        }
        for name in _COORDINATES:
            both = [_along(trial, found, good, f"{name}_{side}") for side in "lr"]
            columns[name] = (
                np.stack([pair[0] for pair in both], axis=1),
                np.stack([pair[1] for pair in both], axis=1),
            )
        lumbar = _along(trial, found, good, "lumbar_extension")
        columns["lumbar_extension"] = (lumbar[0][:, None], lumbar[1][:, None])
        block = (np.flatnonzero(good) / (_BLOCK_S * trial.fps)).astype(np.intp)
        return cls(block, columns)


def _along(trial: Trial, found: Dynamics, good: NDArray[np.bool_], name: str) -> tuple[F64, F64]:
    """A coordinate's moment, estimated and measured, Nm/kg."""
    moment = found.moment[good][:, trial.joints[name]]
    return (
        np.sum(moment * trial.axes[name][good], axis=1) / trial.mass,
        trial.moments[name][good] / trial.mass,
    )


def _pressures(own: F64, plates: F64, weight: float) -> tuple[F64, F64]:
    """Centres of pressure in cm (n, 4), NaN but in single support."""
    single = (plates[..., 2] > _LOADED_N).sum(axis=1) == 1
    compared = single[:, None] & (plates[..., 2] > _PRESSURE_SHARE * weight)
    compared &= np.isfinite(own[..., 3])
    given = []
    for reaction in (own, plates):
        places = 100 * reaction[..., 3:5]
        places[~compared] = np.nan
        given.append(places.reshape(len(own), 4))
    return given[0], given[1]


def rms(estimate: F64, truth: F64) -> float:
    """Root mean square difference over the entries of ``truth`` that are not NaN; any shape."""
    return float(np.sqrt(np.nanmean((estimate - truth) ** 2)))


def correlation(estimate: F64, truth: F64) -> float:
    """Pearson's r over all entries of two arrays of equal shape."""
    return float(np.corrcoef(estimate.reshape(-1), truth.reshape(-1))[0, 1])


def distance(estimate: F64, truth: F64) -> float:
    """Mean distance of points (n, 2 k) in the plane that are known."""
    apart = (estimate - truth).reshape(-1, 2)
    return float(np.nanmean(np.linalg.norm(apart, axis=1)))


Measure = Callable[[F64, F64], float]


def rows_of(case: str, trials: list[Pairs], name: str = "rigid_body") -> list[Row]:
    """Figures of one kind of trial, with 95 % intervals over resampled blocks."""
    wanted: list[tuple[str, str, str, Measure]] = [
        ("grf_vertical", "grf_vertical_rms", "body weight", rms),
        ("grf_vertical_total", "grf_vertical_total_rms", "body weight", rms),
        ("cop", "cop_cm", "cm", distance),
        ("lumbar_extension", "lumbar_extension_rmse", "Nm/kg", rms),
    ]
    for coordinate in _COORDINATES:
        wanted.append((coordinate, f"{coordinate}_r", "", correlation))
        wanted.append((coordinate, f"{coordinate}_rmse", "Nm/kg", rms))
    rows: list[Row] = []
    for column, metric, unit, measure in wanted:
        estimate = np.concatenate([each.columns[column][0] for each in trials])
        truth = np.concatenate([each.columns[column][1] for each in trials])
        if not np.isfinite(estimate).any():
            continue
        blocks = _blocks(trials)
        low, high = _interval(estimate, truth, blocks, measure)
        rows.append(
            {
                "name": name,
                "case": case,
                "metric": metric,
                "value": measure(estimate, truth),
                "unit": unit,
                "low": low,
                "high": high,
            }
        )
    return rows


def _blocks(trials: list[Pairs]) -> list[NDArray[np.intp]]:
    """Indices of the frames of every block, over all trials."""
    out = []
    start = 0
    for each in trials:
        for number in np.unique(each.block):
            out.append(start + np.flatnonzero(each.block == number))
        start += len(each.block)
    return out


def _interval(
    estimate: F64, truth: F64, blocks: list[NDArray[np.intp]], measure: Measure
) -> tuple[float, float]:
    chance = np.random.default_rng(0)
    values = []
    for _ in range(_RESAMPLED):
        drawn = chance.integers(0, len(blocks), len(blocks))
        index = np.concatenate([blocks[k] for k in drawn])
        if np.isfinite(estimate[index]).any():
            values.append(measure(estimate[index], truth[index]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
