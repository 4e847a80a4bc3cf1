"""Evaluation of PALLAS, `pallas eval pallas`: synthetic sensors with all errors on seen and unseen
clips, and the real recording.

The metrics are in `pallas_ros.train.measures`; those of half an hour of continuous operation in
`pallas_ros.train.running`.
"""

import argparse
import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import EXTRA_SITES, JOINT_INDEX
from pallas_ros.body.resources import resource
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.data.virtual_imu import SensorErrors
from pallas_ros.files.json_output import check_json, write_json
from pallas_ros.geometry import rotations
from pallas_ros.model.step import load_model
from pallas_ros.motion_files import add_options, overrides_from
from pallas_ros.train.baselines import mean_pose, tpose_measured
from pallas_ros.train.inputs import SHORTEST_FRAMES, real_inputs, sensed, without_acceleration
from pallas_ros.train.measures import (
    ClipFigures,
    Estimate,
    Method,
    bootstrap,
    figure_row,
    measure_clip,
    table,
)
from pallas_ros.train.pictures import chosen, strips
from pallas_ros.train.running import SHORTEST_CHAINED_FRAMES, evaluate_running

HELP = "Evaluate the body network on seen, unseen and real motion, with baselines and ablations."

CHUNK = 240

SUBSETS: dict[str, tuple[str, ...]] = {
    "sites=4": (),
    "sites=6": EXTRA_SITES[:2],
    "sites=8": EXTRA_SITES[:4],
    "sites=11": EXTRA_SITES,
}
"""Optional sensors worn, by case, all on the unseen subjects: none; shins; shins and upper arms;
all.
"""
FOUR_SENSORS = "sites=4"
"""Case: another name of ``unseen_subjects``."""
RUNNING = "running"
RECORDING = "real_imu_60hz.npz"
NO_ACCELERATION = "no_acceleration"
"""Case: the unseen subjects with all accelerations set to zero, to measure their contribution."""
OTHER_STUDIO = "other_studio"
"""Case: motion of another studio (one third of the Bandai-Namco pack), for networks trained without
it.
"""
CASES = (
    "seen",
    "unseen",
    "unseen_subjects",
    *SUBSETS,
    NO_ACCELERATION,
    OTHER_STUDIO,
    "validation",
    "validation_subjects",
    "running",
    "real",
)
SWIMMERS = ("125", "126")
"""Unseen subjects who swim in the air, which no training subject does: a seventh of the frames."""
DEFAULT_CASES = (
    "unseen_subjects",
    FOUR_SENSORS,
    "sites=6",
    "sites=8",
    NO_ACCELERATION,
    "seen",
    "unseen",
    "running",
    "real",
)


def network(path: Path) -> Method:
    """A trained network as a method, run in chunks with state, as when streaming."""
    from pallas_ros.model.step import PallasStep

    model = PallasStep(load_model(path, older=True)).model

    def run(imu: Tensor, extra: Tensor | None = None) -> Estimate:
        state = None
        parts = []
        for start in range(0, imu.shape[1], CHUNK):
            worn = None if extra is None else extra[:, start : start + CHUNK]
            out = model(imu[:, start : start + CHUNK], state, extra=worn)
            state = out.state
            parts.append(
                (
                    out.rotations,
                    torch.sigmoid(out.contact_logits),
                    out.root_velocity,
                    torch.exp(out.log_deviation.clamp(-6.5, 0)),
                )
            )
        return Estimate(*(torch.cat(part, dim=1) for part in zip(*parts, strict=True)))

    return run


def methods(models: list[Path], library: MotionLibrary) -> dict[str, Method]:
    """All compared methods by name."""
    mean = mean_pose(library)
    found: dict[str, Method] = {
        name: network(path) for name, path in zip(names(models), models, strict=True)
    }
    found["tpose_measured"] = lambda imu, extra=None: Estimate(tpose_measured(imu))
    found["mean_pose"] = lambda imu, extra=None: Estimate(mean.expand(*imu.shape[:2], 22, 3, 3))
    return found


def names(files: list[Path]) -> list[str]:
    """Names of weight files: the file name, with its folder if it is not unique (``runs/a/model``),
    or else the whole path.
    """
    for parts in (1, 2):
        short = ["/".join(path.with_suffix("").parts[-parts:]) for path in files]
        if len(set(short)) == len(files):
            return short
    return [str(path) for path in files]


def evaluate_split(
    library: MotionLibrary, case: str, compared: dict[str, Method]
) -> list[dict[str, Any]]:
    """Rows of all methods on a split, or on the unseen subjects with some of the optional
    sensors or without accelerations.
    """
    skeleton = Skeleton.from_height()
    figures = {name: list[ClipFigures]() for name in compared}
    clips = clips_of(library, case)
    subjects: list[str] = []
    with (
        tqdm(total=len(clips) * len(compared), desc=case, unit=" clips") as bar,
        torch.inference_mode(),
    ):
        for batch, sequence, lengths in sensed(library, clips, SensorErrors()):
            imu = sequence.imu
            extra = sequence.wearing(SUBSETS.get(case, ()))
            if case == NO_ACCELERATION:
                imu = without_acceleration(imu)
            subjects += [clip.subject for clip in batch]
            for name, method in compared.items():
                estimate = method(imu, extra)
                figures[name] += [
                    measure_clip(estimate, sequence, row, lengths[row], skeleton)
                    for row in range(len(batch))
                ]
                bar.update(len(batch))
    rows = []
    for name, measured in figures.items():
        if case == "unseen_subjects":
            rows += by_subject(name, case, subjects, measured)
        for metric in {metric: None for clip in measured for metric in clip.sums}:
            value, low, high = bootstrap(measured, metric)
            rows.append(figure_row(name, case, metric, value, low, high))
    return rows


def by_subject(
    name: str, case: str, subjects: list[str], measured: list[ClipFigures]
) -> list[dict[str, Any]]:
    """Rows with the error of each person, and of all except `SWIMMERS`, since the mean hides the
    errors of unusual motions.
    """
    people = sorted(set(subjects), key=lambda subject: subject.zfill(3))
    groups = {f"subject={subject}": {subject} for subject in people}
    groups["without_swimming"] = set(people) - set(SWIMMERS)
    rows = []
    for group, members in groups.items():
        own = [clip for clip, of in zip(measured, subjects, strict=True) if of in members]
        for metric in ("mpjpe_upper_cm", "mpjpe_legs_cm") if own else ():
            rows.append(figure_row(name, f"{case},{group}", metric, *bootstrap(own, metric)))
    return rows


def clips_of(library: MotionLibrary, case: str) -> list[LibraryClip]:
    """The clips of a case.

    Raises:
        PallasError: the data contain none.
    """
    shortest = SHORTEST_FRAMES
    if case == RUNNING:
        clips = library.select("unseen")
        shortest = SHORTEST_CHAINED_FRAMES
    elif case == OTHER_STUDIO:
        wanted = library.select("seen") + library.select("unseen")
        clips = [clip for clip in wanted if clip.pack == "bandai_namco"]
    else:
        on_subjects = case in (*SUBSETS, NO_ACCELERATION)
        clips = library.select("unseen_subjects" if on_subjects else case)
    clips = [clip for clip in clips if clip.stop - clip.start > shortest]
    if not clips:
        raise PallasError(
            f"the data contain no clip of more than {shortest} frames for '{case}', so it cannot be"
            " measured; leave it out of --cases"
        )
    return clips


def check_inputs(args: argparse.Namespace, library: MotionLibrary) -> None:
    """Check what the cases and pictures need, before hours of work.

    Raises:
        PallasError: something is missing.
    """
    recording = args.data / RECORDING
    if "real" in args.cases and not recording.is_file():
        raise PallasError(
            f"{recording}: no such file, so 'real' cannot be measured; leave it out of --cases"
        )
    for case in args.cases:
        if case != "real":
            clips_of(library, case)
    if args.strips is None:
        return
    if not recording.is_file():
        raise PallasError(f"{recording}: no such file, but --strips draws it; leave --strips out")
    if args.strips.suffix != ".png":
        raise PallasError(f"--strips {args.strips}: the picture's file must end in .png")
    if not chosen(library):
        raise PallasError(
            f"--strips draws clips of more than {SHORTEST_FRAMES} frames of unseen subjects or"
            " contents, but the data contain none; leave --strips out"
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise PallasError("--strips needs matplotlib: install it, or leave --strips out")
    if not args.strips.absolute().parent.is_dir():
        raise PallasError(f"--strips {args.strips}: its folder does not exist; create it")


def evaluate_real(path: Path, compared: dict[str, Method]) -> list[dict[str, Any]]:
    """Errors of the directions of shins (never an input) and forearms, compared with the sensors
    worn there, with and without accelerations; intervals from a bootstrap over seconds.

    ``shin_turned_deg`` is the remaining error of the shins after removing the best constant
    rotation: the sensors define the shins in the wearer's T-pose as straight, even if the knees
    are slightly bent.
    """
    imu, measured, heading = real_inputs(path)
    R_world = rotations.to_matrix(rotations.about_z(heading))
    rows = []
    for name, method in compared.items():
        for case, inputs in (("real", imu), (f"real,{NO_ACCELERATION}", without_acceleration(imu))):
            with torch.inference_mode():
                R = R_world[:, None] @ method(inputs).rotations[0]
            for metric, part, joint, axis in (
                ("shin_deg", "knee", "knee", (0.0, 0.0, -1.0)),
                ("forearm_deg", "wrist", "elbow", (0.0, 1.0, 0.0)),
            ):
                pairs = [
                    (
                        R[:, JOINT_INDEX[f"{side}_{joint}"]] @ torch.tensor(axis),
                        rotations.rotate(measured[f"{side}_{part}"], torch.tensor(axis)),
                    )
                    for side in ("left", "right")
                ]
                rows.append(_real_row(name, case, metric, pairs))
                if metric == "shin_deg":
                    local = [
                        tuple((R_world.transpose(-1, -2) @ x[..., None])[..., 0] for x in pair)
                        for pair in pairs
                    ]
                    turned = [(_turned(a, b), b) for a, b in local]
                    rows.append(_real_row(name, case, "shin_turned_deg", turned))
    return rows


def _real_row(
    name: str, case: str, metric: str, pairs: list[tuple[Tensor, Tensor]]
) -> dict[str, Any]:
    """The mean angle of pairs of directions (T, 3)."""
    angles = [torch.rad2deg(torch.acos((a * b).sum(-1).clamp(-1, 1))) for a, b in pairs]
    angle = torch.stack(angles).mean(0).numpy()
    seconds = [
        ClipFigures({metric: (float(angle[i : i + 60].sum()), float(len(angle[i : i + 60])))})
        for i in range(0, len(angle), 60)
    ]
    return figure_row(name, case, metric, *bootstrap(seconds, metric))


def _turned(a: Tensor, b: Tensor) -> Tensor:
    """Directions ``a`` (T, 3), rotated by the constant rotation that best fits ``b`` (Kabsch)."""
    U, _, Vt = torch.linalg.svd(b.T @ a)
    U[:, 2] *= torch.det(U @ Vt).sign()
    turned: Tensor = a @ (U @ Vt).T
    return turned


def measured_cases(cases: list[str]) -> list[str]:
    """The cases to run: four sensors are not measured twice."""
    once = list(dict.fromkeys(cases))
    return [case for case in once if case != FOUR_SENSORS or "unseen_subjects" not in once]


def as_four_sensors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the unseen subjects, which wear four sensors, as those of `FOUR_SENSORS`."""
    return [{**row, "case": FOUR_SENSORS} for row in rows if row["case"] == "unseen_subjects"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `pallas eval pallas`."""
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("PALLAS_DATA", "../shared/data")),
        help="folder of the motion packs, or of motion files (BVH, AMASS and others)",
    )
    add_options(parser)
    parser.add_argument(
        "--models",
        type=Path,
        nargs="+",
        default=None,
        metavar="FILE",
        help=(
            "weights (.safetensors) to compare; default: those released, and on seen and unseen"
            " models/ablations"
        ),
    )
    parser.add_argument(
        "--strips",
        type=Path,
        metavar="FILE",
        help="draw twelve unseen clips and the real recording here (.png)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument(
        "--cases",
        nargs="+",
        default=list(DEFAULT_CASES),
        choices=CASES,
        help="cases to measure",
    )


def run(args: argparse.Namespace) -> int:
    """Run the evaluation, print the table, and write the file.

    Raises:
        PallasError: an input is missing or invalid.
    """
    check_json(args.json)
    library = MotionLibrary.open(args.data, overrides=overrides_from(args))
    check_inputs(args, library)
    released = resource("models/pallas.safetensors")
    ablations = [] if args.models else sorted((released.parent / "ablations").glob("*.safetensors"))
    every = methods([*(args.models or [released]), *ablations], library)
    rows: list[dict[str, Any]] = []
    for case in measured_cases(args.cases):
        compared = {
            name: method
            for name, method in every.items()
            if case in ("seen", "unseen") or name not in {path.stem for path in ablations}
        }
        if case == "real":
            rows += evaluate_real(args.data / RECORDING, compared)
        elif case == RUNNING:
            rows += evaluate_running(library, clips_of(library, case), compared)
        else:
            rows += evaluate_split(library, case, compared)
        if case == "unseen_subjects" and FOUR_SENSORS in args.cases:
            rows += as_four_sensors(rows)
    print(table(rows))
    if args.json:
        write_json({"rows": rows}, args.json)
    if args.strips:
        strips(library, args.data / RECORDING, next(iter(every.values())), args.strips)
    print(f"{len(rows)} figures" + (f"; written to {args.json}" if args.json else ""))
    return 0
