"""Evaluates HDyS on motion not used for training: moments, ground reaction and accelerations."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hpstm_ros.model.hdys import MOVING_FEATURES, HdysStep
from hpstm_ros.train.dynamics.data import MEASURED, Domain
from hpstm_ros.train.dynamics.training import estimate, mpje
from pallas_ros.train.measures import ClipFigures, bootstrap

F32 = NDArray[np.float32]
Row = dict[str, Any]
Figures = tuple[float, float | None, float | None]
"""A mean and the bounds of its 95 % interval; None if it cannot be estimated."""

REPRESENTATIONS = ("keypoints", "markers", "angles", "rajagopal")
_RESAMPLED = 500


def hdys_rows(
    step: HdysStep,
    domains: Mapping[str, Domain],
    name: str = "hdys",
    representations: Sequence[str] = REPRESENTATIONS,
) -> list[Row]:
    """Rows of a model, with 95 % intervals over clips (domain 1) and half seconds (domain 2).

    Args:
        step: the model.
        domains: held-out domains ``rigid_body`` and ``measured``, and ``simulated`` if available.
        name: of the model in the rows.
        representations: input representations to evaluate.
    """
    frames = step.model.settings.window
    rows = []
    for number, representation in enumerate(representations):
        domain = domains["rigid_body"]
        found = estimate(step, domain, representation, frames)
        rows += _library_rows(name, representation, domain, found, frames, baseline=number == 0)
        domain = domains["measured"]
        found = estimate(step, domain, representation, frames)
        rows += _trial_rows(name, representation, domain, found, frames)
        if "simulated" in domains:
            domain = domains["simulated"]
            found = estimate(step, domain, representation, frames)
            rows += _library_rows(
                name, representation, domain, found, frames, baseline=number == 0, case="simulated"
            )
    return rows + _forward_rows(step, domains["rigid_body"], name)


def _index(domain: Domain, frames: int) -> NDArray[np.intp]:
    starts = domain.windows(frames, frames)
    return np.asarray((starts[:, None] + np.arange(frames)).reshape(-1))


def mean_over_clips(values: NDArray[Any], clip: NDArray[np.int32]) -> Figures:
    """Mean of the known values of (N,), and its interval over clips, if there are several."""
    figures = []
    for number in np.unique(clip):
        mine = values[clip == number]
        mine = mine[np.isfinite(mine)]
        figures.append(ClipFigures({"value": (float(mine.sum()), float(len(mine)))}))
    return bootstrap(figures, "value", _RESAMPLED)


def row(name: str, case: str, metric: str, unit: str, figures: Figures) -> Row:
    """A row with a figure and its interval, if any, as written by `--json`."""
    value, low, high = figures
    made: Row = {
        "name": name,
        "case": case,
        "metric": metric,
        "value": round(value, 4),
        "unit": unit,
    }
    if low is None or high is None:
        return made
    return made | {"low": round(low, 4), "high": round(high, 4)}


def square_root(figures: Figures) -> Figures:
    """Root of a mean square and of its interval."""
    value, low, high = figures
    return (
        math.sqrt(value),
        None if low is None else math.sqrt(low),
        None if high is None else math.sqrt(high),
    )


def _library_rows(
    name: str,
    representation: str,
    domain: Domain,
    found: Mapping[str, F32],
    frames: int,
    *,
    baseline: bool,
    case: str = "unseen_subjects",
) -> list[Row]:
    index = _index(domain, frames)
    clip = domain.clip[index]
    truth = domain.dynamics["torque"][index]
    square = np.nanmean(np.square(found["torque"] - truth), axis=1)
    rows = [
        row(
            name,
            case,
            f"mpje_{representation}",
            "Nm/kg",
            mean_over_clips(mpje(found["torque"], truth), clip),
        ),
        row(
            name,
            case,
            f"moment_rmse_{representation}",
            "Nm/kg",
            square_root(mean_over_clips(square, clip)),
        ),
    ]
    ground = domain.dynamics["ground"][index].reshape(-1, 2, 5)
    away = found["ground"].reshape(-1, 2, 5) - ground
    force = np.square(away[..., 2]).mean(axis=1)
    rows.append(
        row(
            name,
            case,
            f"grf_vertical_rms_{representation}",
            "body weight",
            square_root(mean_over_clips(force, clip)),
        )
    )
    if baseline:
        still = np.broadcast_to(truth.mean(axis=0), truth.shape)
        rows.append(
            row("mean_moment", case, "mpje", "Nm/kg", mean_over_clips(mpje(still, truth), clip))
        )
    return rows


def _trial_rows(
    name: str, representation: str, domain: Domain, found: Mapping[str, F32], frames: int
) -> list[Row]:
    """By kind of trial: rms error of the ground force, and r and rmse of hips, knees and ankles."""
    index = _index(domain, frames)
    clip = domain.clip[index]
    block = np.arange(len(index)) // (4 * frames)
    rows = []
    walks = np.array(["walking" in label for label in domain.names])[clip]
    for case, mine in (("held_out_walking", walks), ("held_out_sit_to_stand", ~walks)):
        if not mine.any():
            continue
        away = (found["ground"] - domain.dynamics["ground"][index]).reshape(-1, 2, 5)[mine]
        force = np.square(away[..., 2]).mean(axis=1)
        metric = f"grf_vertical_rms_{representation}"
        rows.append(
            row(name, case, metric, "body weight", square_root(mean_over_clips(force, block[mine])))
        )
        for joint in ("hip_flexion", "knee_angle", "ankle_angle"):
            columns = [MEASURED.index(f"{joint}_{side}") for side in "lr"]
            estimated = found["measured"][mine][:, columns]
            truth = domain.dynamics["measured"][index][mine][:, columns]
            square = np.square(estimated - truth).mean(axis=1)
            metric = f"{joint}_rmse_{representation}"
            rows.append(
                row(name, case, metric, "Nm/kg", square_root(mean_over_clips(square, block[mine])))
            )
            figures = _correlation(estimated, truth, block[mine])
            rows.append(row(name, case, f"{joint}_r_{representation}", "", figures))
    return rows


def _correlation(estimated: F32, truth: F32, block: NDArray[np.intp]) -> tuple[float, float, float]:
    """Pearson's r over all entries, and its interval over blocks of frames."""
    groups = [np.flatnonzero(block == number) for number in np.unique(block)]
    chance = np.random.default_rng(0)

    def r(index: NDArray[np.intp]) -> float:
        return float(np.corrcoef(estimated[index].reshape(-1), truth[index].reshape(-1))[0, 1])

    drawn = [
        r(np.concatenate([groups[k] for k in chance.integers(0, len(groups), len(groups))]))
        for _ in range(_RESAMPLED)
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return r(np.concatenate(groups)), float(low), float(high)


def _forward_rows(step: HdysStep, domain: Domain, name: str) -> list[Row]:
    """Error of the accelerations of keypoints, predicted from their motion and the true forces,
    compared with persistence of the velocity and of the acceleration.
    """
    frames = step.model.settings.window
    index = _index(domain, frames).reshape(-1, frames)
    clip = domain.clip[index[:, 1:].reshape(-1)]
    truth = domain.motion["keypoints"][index][..., MOVING_FEATURES:]
    with torch.no_grad():
        points = step.scale.standard(
            "keypoints", torch.from_numpy(domain.motion["keypoints"][index])
        )
        forces = {
            kind: step.scale.standard(kind, torch.from_numpy(values[index])).nan_to_num(0.0)
            for kind, values in domain.dynamics.items()
        }
        found = step.model.accelerate("keypoints", points, forces)
        mean, deviation = step.scale["keypoints"]
        away = MOVING_FEATURES
        physical = (found * deviation[:, away:] + mean[:, away:]).numpy()
    guesses = {
        name: physical,
        "constant_velocity": np.zeros_like(truth[:, 1:]),
        "last_acceleration": truth[:, :-1],
    }
    rows = []
    for label, guess in guesses.items():
        error = np.linalg.norm(guess - truth[:, 1:], axis=-1).mean(axis=-1).reshape(-1)
        figures = mean_over_clips(error, clip)
        rows.append(row(label, "unseen_subjects", "forward_acceleration", "m/s2", figures))
    return rows
