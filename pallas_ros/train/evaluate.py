"""Evaluation of PALLAS: `pallas eval pallas`. Synthetic sensors with all their errors on the seen and unseen clips, and the real recording.

Every figure comes with its 95 % interval from a bootstrap over clips. Positions are root-relative, in the world, default skeleton;
``mpjpe_upper_cm`` is over `UPPER_JOINTS`, the root among them whose own error is zero,
``mpjpe_upper13_cm`` over the 13 others, ``mpjpe_legs_cm`` over `LEG_JOINTS`.
"""

import argparse
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import load_npz
from pallas_ros.body.names import JOINT_INDEX, JOINTS, LEG_JOINTS, MODEL_RATE_HZ, UPPER_JOINTS
from pallas_ros.body.resources import resource
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.data.virtual_imu import MARGIN, SensorErrors, Sequence, features, joint_positions, sense
from pallas_ros.model import rotations
from pallas_ros.model.step import load_model
from pallas_ros.runtime.estimator import ACCELERATION_FRAMES
from pallas_ros.runtime.root import RootTracker
from pallas_ros.train.baselines import mean_pose, tpose_measured

HELP = "accuracy on seen, unseen and real motion, beside baselines and ablations"

CHUNK = 240
CHAIN_MINUTES = (1, 5, 30)
UPPER, LEGS = list(UPPER_JOINTS), list(LEG_JOINTS)
FEET = [JOINT_INDEX[name] for name in ("left_ankle", "left_foot", "right_ankle", "right_foot")]

F64 = NDArray[np.float64]


@dataclass
class Estimate:
    """What a method says of (B, T) frames, in the waist's heading frame; tensors as in `PallasOutput`. Methods that know no contacts give None."""

    rotations: Tensor
    contacts: Tensor | None = None
    root_velocity: Tensor | None = None
    deviation: Tensor | None = None


Method = Callable[[Tensor], Estimate]


def network(path: Path) -> Method:
    """A trained network, run in chunks that hand on their state, as it streams."""
    from pallas_ros.model.step import PallasStep

    model = PallasStep(load_model(path)).model

    def run(imu: Tensor) -> Estimate:
        state, parts = None, []
        for start in range(0, imu.shape[1], CHUNK):
            out = model(imu[:, start : start + CHUNK], state)
            state = out.state
            parts.append((out.rotations, torch.sigmoid(out.contact_logits), out.root_velocity, torch.exp(out.log_deviation.clamp(-6.5, 0))))
        return Estimate(*(torch.cat(part, dim=1) for part in zip(*parts, strict=True)))

    return run


def methods(models: list[Path], library: MotionLibrary) -> dict[str, Method]:
    """Everything that is compared, by name."""
    mean = mean_pose(library)
    found: dict[str, Method] = {path.stem: network(path) for path in models}
    found["tpose_measured"] = lambda imu: Estimate(tpose_measured(imu))
    found["mean_pose"] = lambda imu: Estimate(mean.expand(*imu.shape[:2], 22, 3, 3))
    return found


def sensed(
    library: MotionLibrary, clips: list[LibraryClip], errors: SensorErrors
) -> Iterator[tuple[list[LibraryClip], Sequence, list[int]]]:
    """The clips with sensors on, in batches of like length: clips, sequences (padded by their last frame), frames of each. Same every time."""
    offsets = torch.tensor(Skeleton.from_height().offsets, dtype=torch.float32)
    ordered = sorted((c for c in clips if c.stop - c.start > 2 * MARGIN + 12), key=lambda c: (c.stop - c.start, c.name))
    for first in range(0, len(ordered), 32):
        batch = ordered[first : first + 32]
        longest = max(c.stop - c.start for c in batch)
        index = np.stack([np.minimum(np.arange(longest), c.stop - c.start - 1) + c.start for c in batch])
        q = rotations.normalise(torch.from_numpy(library.rotations[index].astype(np.float32)))
        root, contacts = torch.from_numpy(library.root[index]), torch.from_numpy(library.contacts[index])
        generator = torch.Generator().manual_seed(zlib.crc32(batch[0].name.encode()))
        sequence = sense(q, root, contacts, offsets.expand(len(batch), -1, -1), errors, generator)
        yield batch, sequence, [c.stop - c.start - 2 * MARGIN for c in batch]


@dataclass
class ClipFigures:
    """Sums over one clip's frames, by metric: (sum, weight) each, so that any set of clips has its mean."""

    sums: dict[str, tuple[float, float]]


def measure_clip(estimate: Estimate, sequence: Sequence, row: int, frames: int, skeleton: Skeleton) -> ClipFigures:
    """All metrics of one clip."""
    R, truth_R = estimate.rotations[row, :frames], sequence.rotations[row, :frames]
    offsets = torch.tensor(skeleton.offsets, dtype=torch.float32)
    p, truth = joint_positions(R, offsets), joint_positions(truth_R, offsets)
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
    sums |= {f"angle_{name}_deg": (float(angle[:, joint].sum()), float(frames)) for joint, name in enumerate(JOINTS)}
    R_world = rotations.to_matrix(rotations.about_z(sequence.heading[row, :frames]))[:, None]
    world, true_world = ((R_world @ x[..., None])[..., 0] for x in (p, truth))
    jerk, true_jerk = (x.diff(n=3, dim=0)[:, 1:].norm(dim=-1).sum() for x in (world, true_world))
    sums["jerk_ratio"] = (float(jerk), float(true_jerk))
    if estimate.deviation is not None:
        within = (p - truth).square().sum(-1) / estimate.deviation[row, :frames].square() < 6.251  # 90 % of a 3-D Gaussian
        sums["coverage90"] = (float(within[:, 1:].float().mean(-1).sum()), float(frames))
    if estimate.contacts is not None and estimate.root_velocity is not None:
        sums |= _root_figures(estimate, sequence, row, frames, skeleton, world.double().numpy())
    return ClipFigures(sums)


def track_root(estimate: Estimate, heading: Tensor, row: int, world: F64, skeleton: Skeleton) -> F64:
    """Pelvis path (T, 3) m by the tracker that runs live."""
    assert estimate.contacts is not None and estimate.root_velocity is not None
    frames = len(world)
    R_world = rotations.to_matrix(rotations.about_z(heading[row, :frames]))
    velocity = (R_world @ estimate.root_velocity[row, :frames, :, None])[..., 0].double().numpy()
    contacts = estimate.contacts[row, :frames].double().numpy()
    tracker = RootTracker(skeleton)
    return np.stack([tracker.step(round((t + 1) * 1e9 / MODEL_RATE_HZ), world[t], contacts[t], velocity[t]).copy() for t in range(frames)])


def _root_figures(
    estimate: Estimate, sequence: Sequence, row: int, frames: int, skeleton: Skeleton, world: F64
) -> dict[str, tuple[float, float]]:
    """Foot slide (speed of feet that truly stand, their slower point) and drift of the root over the way truly gone."""
    path = track_root(estimate, sequence.heading, row, world, skeleton)
    feet = np.linalg.norm(np.diff(world[:, FEET] + path[:, None], axis=0), axis=-1).reshape(-1, 2, 2).min(-1) * MODEL_RATE_HZ * 100
    standing = sequence.contacts[row, 1:frames].numpy() > 0.5
    R_world = rotations.to_matrix(rotations.about_z(sequence.heading[row, :frames]))
    steps = (R_world @ sequence.root_velocity[row, :frames, :, None])[..., 0].double().numpy() / MODEL_RATE_HZ
    true_path = np.cumsum(steps, axis=0)
    gone = float(np.linalg.norm(steps[:, :2], axis=-1).sum())
    off = float(np.linalg.norm(((path[-1] - path[0]) - (true_path[-1] - true_path[0]))[:2]))
    figures = {"foot_slide_cm_s": (float((feet * standing).sum()), float(max(standing.sum(), 1)))}
    if gone > 1.0:
        figures["root_drift_m_per_10m"] = (10 * off, gone)
    return figures


def bootstrap(clips: list[ClipFigures], metric: str, draws: int = 1000) -> tuple[float, float, float]:
    """Mean of a metric over clips, and the ends of its 95 % interval."""
    pairs = np.array([c.sums[metric] for c in clips if metric in c.sums])
    index = np.random.default_rng(0).integers(0, len(pairs), (draws, len(pairs)))
    resampled = pairs[index].sum(1)
    low, high = np.percentile(resampled[:, 0] / np.maximum(resampled[:, 1], 1e-9), [2.5, 97.5])
    total = pairs.sum(0)
    return float(total[0] / max(total[1], 1e-9)), float(low), float(high)


def evaluate_split(library: MotionLibrary, split: str, compared: dict[str, Method]) -> list[dict[str, Any]]:
    """Rows of every method on a split."""
    skeleton, figures = Skeleton.from_height(), {name: list[ClipFigures]() for name in compared}
    clips = library.select(split)
    batches = list(sensed(library, clips, SensorErrors()))
    with tqdm(total=len(batches) * len(compared), desc=split, unit=" batches") as bar, torch.inference_mode():
        for batch, sequence, lengths in batches:
            for name, method in compared.items():
                estimate = method(sequence.imu)
                figures[name] += [measure_clip(estimate, sequence, row, lengths[row], skeleton) for row in range(len(batch))]
                bar.update()
    rows = []
    for name, measured in figures.items():
        for metric in {metric: None for clip in measured for metric in clip.sums}:
            value, low, high = bootstrap(measured, metric)
            rows.append(_row(name, split, metric, value, low, high))
    return rows


def _row(name: str, case: str, metric: str, value: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    unit = {"cm": "cm", "deg": "deg", "s": "cm/s", "10m": "m"}.get(metric.rsplit("_", 1)[-1], "")
    row: dict[str, Any] = {"name": name, "case": case, "metric": metric, "value": round(value, 4), "unit": unit}
    return row if low is None or high is None else row | {"low": round(low, 4), "high": round(high, 4)}


def chain(
    library: MotionLibrary, clips: list[LibraryClip], frames: int, rng: np.random.Generator, blend: int = 30
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clips in random order, one after another without end: each turned and put where the last left off, half a second blended.

    Returns:
        Orientations (T, 22, 4), the pelvis' way (T, 3), contacts (T, 2), and which clip a frame is of (T,).
    """
    q_parts, root_parts, contact_parts, have = [], [], [], 0
    clip_parts: list[Tensor] = []
    q_last = root_last = None
    while have < frames:
        clip = clips[rng.integers(len(clips))]
        q = torch.from_numpy(library.quaternions(clip))
        root = torch.from_numpy(np.array(library.root[clip.start : clip.stop]))
        contacts = torch.from_numpy(np.array(library.contacts[clip.start : clip.stop]))
        if len(q) <= 2 * blend:
            continue
        if q_last is not None and root_last is not None:
            turn = rotations.about_z(rotations.heading(q_last[0]) - rotations.heading(q[0, 0]))
            q = rotations.multiply(turn, q)
            root = rotations.rotate(turn, root)
            root = root + (root_last - root[0]) * torch.tensor([1.0, 1.0, 0.0])
            part = torch.linspace(0, 1, blend)
            part = part * part * (3 - 2 * part)
            q[:blend] = rotations.nlerp(q_last[None].expand(blend, -1, -1), q[:blend], part[:, None, None])
            root[:blend] = torch.lerp(root_last.expand(blend, 3), root[:blend], part[:, None])
        q_parts.append(q)
        root_parts.append(root)
        contact_parts.append(contacts)
        clip_parts.append(torch.full((len(q),), len(clip_parts)))
        q_last, root_last, have = q[-1], root[-1], have + len(q)
    return tuple(torch.cat(part)[:frames] for part in (q_parts, root_parts, contact_parts, clip_parts))  # type: ignore[return-value]


def evaluate_running(library: MotionLibrary, split: str, compared: dict[str, Method], chains: int = 4) -> list[dict[str, Any]]:
    """Error after 1, 5 and 30 minutes of continuous running: over the minute that ends then.

    The same minute by the method begun ten seconds before it (``_fresh``) says what the long run added; intervals from a bootstrap over clips.
    """
    frames = int(max(CHAIN_MINUTES) * 60 * MODEL_RATE_HZ) + 2 * MARGIN
    rng = np.random.default_rng(3)
    parts = [chain(library, library.select(split), frames, rng) for _ in range(chains)]
    q, root, contacts, clip = (torch.stack(part) for part in zip(*parts, strict=True))
    clip = clip[:, MARGIN:-MARGIN]
    offsets = torch.tensor(Skeleton.from_height().offsets, dtype=torch.float32)
    # Heading drifts by 2 degrees in the half hour: more is the synchroniser's and the filter's to correct.
    errors = replace(SensorErrors(), heading_drift_deg_per_s=0.001, dropout=0.0)
    sequence = sense(q, root, contacts, offsets.expand(chains, -1, -1), errors, torch.Generator().manual_seed(5))
    minute, start_up = int(60 * MODEL_RATE_HZ), int(10 * MODEL_RATE_HZ)
    rows = []
    for name, method in tqdm(compared.items(), desc=f"{split}, {max(CHAIN_MINUTES)} min", unit=" methods"):
        with torch.inference_mode():
            R = method(sequence.imu).rotations
            for minutes in CHAIN_MINUTES:
                window = slice((minutes - 1) * minute, minutes * minute)
                fresh = slice(max(window.start - start_up, 0), window.stop)
                R_fresh = method(sequence.imu[:, fresh]).rotations[:, -minute:]
                truth, case = joint_positions(sequence.rotations[:, window], offsets), f"{split}_after_{minutes}min"
                for suffix, rotation in (("", R[:, window]), ("_fresh", R_fresh)):
                    error = 100 * (joint_positions(rotation, offsets) - truth).norm(dim=-1)
                    for metric, joints in (("mpjpe_upper", UPPER), ("mpjpe_legs", LEGS)):
                        figures = _by_clip(error[..., joints].mean(-1), clip[:, window])
                        rows.append(_row(name, case, f"{metric}{suffix}_cm", *bootstrap(figures, "error")))
    return rows


def _by_clip(error: Tensor, clip: Tensor) -> list[ClipFigures]:
    """Sums of an error (chains, T) over the stretches of one clip each."""
    figures = []
    for row, labels in zip(error, clip, strict=True):
        for label in torch.unique(labels):
            part = row[labels == label]
            figures.append(ClipFigures({"error": (float(part.sum()), float(len(part)))}))
    return figures


def real_inputs(path: Path) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """The real recording as inputs (1, T, 48), its measured orientations (T, 4) by site, and the waist's heading (T,); accelerations filtered as live."""
    arrays = load_npz(path, "IMU recording")
    sites = [str(name) for name in arrays["sites"]]
    q = torch.tensor(arrays["orientation"], dtype=torch.float32)
    a = arrays["linear_acceleration"].astype(np.float64)
    padded = np.concatenate((np.repeat(a[:1], ACCELERATION_FRAMES - 1, axis=0), a))
    smooth = np.stack([padded[i : i + len(a)] for i in range(ACCELERATION_FRAMES)]).mean(0)
    used = [sites.index(name) for name in ("pelvis", "head", "left_wrist", "right_wrist")]
    heading = rotations.heading(q[:, used[0]])
    R = rotations.to_matrix(rotations.about_z(-heading))
    imu = features(q[:, used], torch.tensor(smooth[:, used], dtype=torch.float32), R)
    return imu[None], {name: q[:, index] for index, name in enumerate(sites)}, heading


def evaluate_real(path: Path, compared: dict[str, Method]) -> list[dict[str, Any]]:
    """Directions of shins (never an input) and forearms against the sensors worn there; intervals from a bootstrap over seconds."""
    imu, measured, heading = real_inputs(path)
    R_world = rotations.to_matrix(rotations.about_z(heading))
    rows = []
    for name, method in compared.items():
        with torch.inference_mode():
            R = R_world[:, None] @ method(imu).rotations[0]
        for metric, part, joint, axis in (
            ("shin_deg", "knee", "knee", (0.0, 0.0, -1.0)),
            ("forearm_deg", "wrist", "elbow", (0.0, 1.0, 0.0)),
        ):
            angles = []
            for side in ("left", "right"):
                a = R[:, JOINT_INDEX[f"{side}_{joint}"]] @ torch.tensor(axis)
                b = rotations.rotate(measured[f"{side}_{part}"], torch.tensor(axis))
                angles.append(torch.rad2deg(torch.acos((a * b).sum(-1).clamp(-1, 1))))
            angle = torch.stack(angles).mean(0).numpy()
            seconds = [
                ClipFigures({metric: (float(angle[i : i + 60].sum()), float(len(angle[i : i + 60])))}) for i in range(0, len(angle), 60)
            ]
            rows.append(_row(name, "real", metric, *bootstrap(seconds, metric)))
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as text."""
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
        "shin_deg",
        "forearm_deg",
    )
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        here = [row for row in rows if row["case"] == case]
        shown = [m for m in metrics if any(row["metric"] == m for row in here)]
        lines.append(f"\n{case:24s}" + "".join(f"{m:>24s}" for m in shown))
        for name in dict.fromkeys(row["name"] for row in here):
            cells = {row["metric"]: row for row in here if row["name"] == name}
            text = [
                f"{cells[m]['value']:.2f}" + (f" [{cells[m]['low']:.2f}, {cells[m]['high']:.2f}]" if "low" in cells[m] else "")
                if m in cells
                else "-"
                for m in shown
            ]
            lines.append(f"  {name:22s}" + "".join(f"{cell:>24s}" for cell in text))
    return "\n".join(lines)


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `pallas eval pallas`."""
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("PALLAS_DATA", "../shared/data")), help="folder of the motion packs"
    )
    parser.add_argument(
        "--models",
        type=Path,
        nargs="+",
        default=None,
        metavar="FILE",
        help="weights (.safetensors) to compare; default: those released, and models/ablations",
    )
    parser.add_argument("--strips", type=Path, metavar="FILE", help="draw ten unseen clips and the real recording here (.png)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument(
        "--cases",
        nargs="+",
        default=["seen", "unseen", "running", "real"],
        choices=["seen", "unseen", "validation", "running", "real"],
        help="what to measure on",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write the file."""
    library = MotionLibrary.open(args.data)
    released = resource("models/pallas.safetensors")
    compared = methods(args.models or [released, *sorted((released.parent / "ablations").glob("*.safetensors"))], library)
    rows: list[dict[str, Any]] = []
    for case in args.cases:
        if case == "real":
            path = args.data / "real_imu_60hz.npz"
            if not path.is_file():
                raise PallasError(f"{path}: no such file, so 'real' cannot be measured; leave it out of --cases")
            rows += evaluate_real(path, compared)
        elif case == "running":
            rows += evaluate_running(library, "unseen", compared)
        else:
            rows += evaluate_split(library, case, compared)
    print(table(rows))
    if args.strips:
        from pallas_ros.train.pictures import strips

        strips(library, args.data / "real_imu_60hz.npz", next(iter(compared.values())), args.strips)
    if args.json:
        temporary = args.json.with_name(f".{args.json.name}.tmp")
        temporary.write_text(json.dumps({"rows": rows}, indent=1))
        temporary.replace(args.json)
    print(f"{len(rows)} figures" + (f"; written to {args.json}" if args.json else ""))
    return 0
