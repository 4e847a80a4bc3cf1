"""Metrics of an estimate compared with the ground truth, with 95 % intervals from a bootstrap over
clips, and their table.

Positions are root-relative, in the world, for the default skeleton; ``mpjpe_upper_cm`` is over
`UPPER_JOINTS`, including the root, whose error is zero, ``mpjpe_upper13_cm`` over the other 13
joints, ``mpjpe_legs_cm`` over `LEG_JOINTS`.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pallas_ros.body.kinematics import forward_kinematics_matrices
from pallas_ros.body.names import JOINT_INDEX, JOINTS, LEG_JOINTS, MODEL_RATE_HZ, UPPER_JOINTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.virtual_imu import Sequence, joint_positions
from pallas_ros.geometry import rotations
from pallas_ros.runtime.root import RootTracker
from pallas_ros.runtime.stance import StanceLock

UPPER = list(UPPER_JOINTS)
LEGS = list(LEG_JOINTS)
FEET = [JOINT_INDEX[name] for name in ("left_ankle", "left_foot", "right_ankle", "right_foot")]

KNOWN = {
    "mpjpe_upper_true_arms_cm": (("left_shoulder", "right_shoulder"), UPPER),
    "mpjpe_upper_true_trunk_cm": (("pelvis", "spine1", "spine2", "spine3"), UPPER),
    "mpjpe_legs_true_thighs_cm": (("left_hip", "right_hip"), LEGS),
}
"""Metrics that attribute the error to segments: the segments that are given their true orientation,
and the joints whose remaining error is measured.
"""

F64 = NDArray[np.float64]


@dataclass
class Estimate:
    """Output of a method for (B, T) frames, in the heading frame of the waist; tensors as in
    `PallasOutput`. Methods without contacts return None for them.
    """

    rotations: Tensor
    contacts: Tensor | None = None
    root_velocity: Tensor | None = None
    deviation: Tensor | None = None


class Method(Protocol):
    """A method to evaluate: maps inputs (B, T, 48) of the four sensors and (B, T, 91) of the
    optional ones to an estimate.
    """

    def __call__(self, imu: Tensor, extra: Tensor | None = None) -> Estimate: ...


@dataclass
class ClipFigures:
    """Sums over the frames of a clip by metric, each as (sum, weight), so that the mean over
    any set of clips can be computed.
    """

    sums: dict[str, tuple[float, float]]


def measure_clip(
    estimate: Estimate, sequence: Sequence, row: int, frames: int, skeleton: Skeleton
) -> ClipFigures:
    """All metrics of one clip, for the published body, with planted feet held in place."""
    R = estimate.rotations[row, :frames]
    truth_R = sequence.rotations[row, :frames]
    offsets = torch.tensor(skeleton.offsets, dtype=torch.float32)
    R_world = rotations.to_matrix(rotations.about_z(sequence.heading[row, :frames]))[:, None]
    path: F64 | None = None
    if estimate.contacts is not None and estimate.root_velocity is not None:
        R_placed, path = place(estimate, sequence.heading, row, frames, skeleton)
        R = R_world.transpose(-1, -2) @ torch.from_numpy(R_placed).to(R.dtype)
    p = joint_positions(R, offsets)
    truth = joint_positions(truth_R, offsets)
    error = 100 * (p - truth).norm(dim=-1)
    trace = (R.transpose(-1, -2) @ truth_R).diagonal(dim1=-2, dim2=-1).sum(-1)
    angle = torch.rad2deg(torch.acos(((trace - 1) / 2).clamp(-1, 1)))
    sums = {
        "mpjpe_upper_cm": (float(error[:, UPPER].mean(-1).sum()), float(frames)),
        "mpjpe_upper13_cm": (float(error[:, UPPER[1:]].mean(-1).sum()), float(frames)),
        "mpjpe_legs_cm": (float(error[:, LEGS].mean(-1).sum()), float(frames)),
        "mpjpe_cm": (float(error.mean(-1).sum()), float(frames)),
        "angle_deg": (float(angle.mean(-1).sum()), float(frames)),
    }
    sums |= {
        f"angle_{name}_deg": (float(angle[:, joint].sum()), float(frames))
        for joint, name in enumerate(JOINTS)
    }
    for metric, (segments, joints) in KNOWN.items():
        corrected = R.clone()
        known = [JOINT_INDEX[name] for name in segments]
        corrected[:, known] = truth_R[:, known]
        rest = 100 * (joint_positions(corrected, offsets) - truth).norm(dim=-1)
        sums[metric] = (float(rest[:, joints].mean(-1).sum()), float(frames))
    world, true_world = ((R_world @ x[..., None])[..., 0] for x in (p, truth))
    jerk, true_jerk = (x.diff(n=3, dim=0)[:, 1:].norm(dim=-1).sum() for x in (world, true_world))
    sums["jerk_ratio"] = (float(jerk), float(true_jerk))
    if estimate.deviation is not None:
        within = (p - truth).square().sum(-1) / estimate.deviation[
            row, :frames
        ].square() < 6.251  # 90 % of a 3-D Gaussian
        for metric, joints in (("", UPPER[1:] + LEGS), ("_upper", UPPER[1:]), ("_legs", LEGS)):
            share = float(within[:, joints].float().mean(-1).sum())
            sums[f"coverage90{metric}"] = (share, float(frames))
    if path is not None:
        sums |= _root_figures(path, sequence, row, frames, world.double().numpy())
    return ClipFigures(sums)


def place(
    estimate: Estimate, heading: Tensor, row: int, frames: int, skeleton: Skeleton
) -> tuple[F64, F64]:
    """Orientations (T, 22, 3, 3) in the world and path (T, 3) m of the pelvis, computed as live
    (`BodyEstimator`).
    """
    assert estimate.contacts is not None and estimate.root_velocity is not None
    R_world = rotations.to_matrix(rotations.about_z(heading[row, :frames]))
    velocity = (R_world @ estimate.root_velocity[row, :frames, :, None])[..., 0].double().numpy()
    R = (R_world[:, None] @ estimate.rotations[row, :frames]).double().numpy()
    contacts = estimate.contacts[row, :frames].double().numpy()
    relative = np.asarray(forward_kinematics_matrices(skeleton, R, np.zeros((frames, 3))))
    tracker = RootTracker(skeleton)
    lock = StanceLock(skeleton)
    path = np.empty((frames, 3))
    for t in range(frames):
        stamp = round((t + 1) * 1e9 / MODEL_RATE_HZ)
        path[t] = tracker.step(stamp, relative[t], contacts[t], velocity[t])
        R[t], _ = lock.step(stamp, R[t], relative[t], path[t], contacts[t])
    return R, path


def _root_figures(
    path: F64, sequence: Sequence, row: int, frames: int, world: F64
) -> dict[str, tuple[float, float]]:
    """Foot slide (speed of the slower point of feet that are truly in contact), and drift of the
    root relative to the true path length.
    """
    feet = (
        np.linalg.norm(np.diff(world[:, FEET] + path[:, None], axis=0), axis=-1)
        .reshape(-1, 2, 2)
        .min(-1)
        * MODEL_RATE_HZ
        * 100
    )
    standing = sequence.contacts[row, 1:frames].numpy() > 0.5
    R_world = rotations.to_matrix(rotations.about_z(sequence.heading[row, :frames]))
    steps = (R_world @ sequence.root_velocity[row, :frames, :, None])[
        ..., 0
    ].double().numpy() / MODEL_RATE_HZ
    true_path = np.cumsum(steps, axis=0)
    gone = float(np.linalg.norm(steps[:, :2], axis=-1).sum())
    off = float(np.linalg.norm(((path[-1] - path[0]) - (true_path[-1] - true_path[0]))[:2]))
    figures = {"foot_slide_cm_s": (float((feet * standing).sum()), float(max(standing.sum(), 1)))}
    if gone > 1.0:
        figures["root_drift_m_per_10m"] = (10 * off, gone)
    return figures


def bootstrap(
    clips: list[ClipFigures], metric: str, draws: int = 1000
) -> tuple[float, float | None, float | None]:
    """Mean of a metric over clips, and the bounds of its 95 % interval; None for fewer than two
    clips, from which it cannot be estimated.
    """
    pairs = np.array([c.sums[metric] for c in clips if metric in c.sums])
    total = pairs.sum(0)
    mean = float(total[0] / max(total[1], 1e-9))
    if len(pairs) < 2:
        return mean, None, None
    index = np.random.default_rng(0).integers(0, len(pairs), (draws, len(pairs)))
    resampled = pairs[index].sum(1)
    low, high = np.percentile(resampled[:, 0] / np.maximum(resampled[:, 1], 1e-9), [2.5, 97.5])
    return mean, float(low), float(high)


def figure_row(
    name: str,
    case: str,
    metric: str,
    value: float,
    low: float | None = None,
    high: float | None = None,
) -> dict[str, Any]:
    """A row of the output file: figure of the method ``name`` on ``case``, with its interval, if
    any.
    """
    unit = {"cm": "cm", "deg": "deg", "s": "cm/s", "10m": "m"}.get(metric.rsplit("_", 1)[-1], "")
    row: dict[str, Any] = {
        "name": name,
        "case": case,
        "metric": metric,
        "value": round(value, 4),
        "unit": unit,
    }
    return (
        row if low is None or high is None else row | {"low": round(low, 4), "high": round(high, 4)}
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as a text table."""
    metrics = (
        "mpjpe_upper_cm",
        "mpjpe_upper13_cm",
        "mpjpe_legs_cm",
        "mpjpe_cm",
        "mpjpe_upper_fresh_cm",
        "mpjpe_legs_fresh_cm",
        "angle_deg",
        "jerk_ratio",
        "foot_slide_cm_s",
        "root_drift_m_per_10m",
        "coverage90",
        "coverage90_upper",
        "coverage90_legs",
        *KNOWN,
        "shin_deg",
        "shin_turned_deg",
        "forearm_deg",
    )
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        here = [row for row in rows if row["case"] == case]
        shown = [m for m in metrics if any(row["metric"] == m for row in here)]
        lines.append(f"\n{case:24s}" + "".join(f"{m:>26s}" for m in shown))
        for name in dict.fromkeys(row["name"] for row in here):
            cells = {row["metric"]: row for row in here if row["name"] == name}
            text = [_cell(cells.get(m)) for m in shown]
            lines.append(f"  {name:22s}" + "".join(f"{cell:>26s}" for cell in text))
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    interval = f" [{row['low']:.2f}, {row['high']:.2f}]" if "low" in row else ""
    return f"{row['value']:.2f}{interval}"
