"""`pallas eval text_pose`: anatomy, agreement with the text, clusters and time."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation.corrections import range_violations
from hpstm_ros.generation.intersections import intersections
from hpstm_ros.generation.poses import GUIDANCE, STEPS, Poses, PoseSampler, decode_pose
from hpstm_ros.language.alignment.aligner import Aligner
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.train.alignment.measures import interval
from hpstm_ros.train.text_pose.data import CLUSTERS, SIZES, collect, nearest
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import PARENTS
from pallas_ros.body.resources import resource
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import MotionLibrary
from pallas_ros.files.json_output import check_json, write_json

F64 = NDArray[np.float64]
Row = dict[str, Any]

HELP = "Evaluate the text-to-pose model: anatomy, agreement with the text, clusters, time."
POOL = 32
_PER_TEXT = 4
_EVEN = 4.5
"""Constant guidance: the mean of the schedule."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument("--model", default="models/text_pose.onnx", help="the network")
    parser.add_argument(
        "--texts", type=int, default=64, help="number of texts, from clips of other people"
    )
    parser.add_argument(
        "--split",
        default="unseen_subjects",
        choices=("unseen_subjects", "validation", "validation_subjects"),
        help="split of the texts and poses",
    )
    parser.add_argument(
        "--beside",
        nargs="*",
        default=[],
        metavar="NAME=MODEL",
        help="further networks to measure, each trained without a part",
    )
    parser.add_argument("--json", metavar="F", help="also write every figure there")


def run(args: argparse.Namespace) -> int:
    """Run the evaluation, and print or write the figures.

    Raises:
        PallasError: an input is missing or invalid.
    """
    check_json(args.json)
    library = MotionLibrary.open(args.data, alignment="bent")
    compared = {"text_pose": PoseSampler(resource(args.model))}
    for text in args.beside:
        name, _, path = text.partition("=")
        if not path:
            raise PallasError(f"--beside {text[:80]}: give a name and a model, as NAME=MODEL")
        compared[name] = PoseSampler(path)
    trial = _trial(library, Descriptions.open(args.data), args.split, args.texts)
    aligner = Aligner.default()
    rows = [
        _intersecting("real_poses", trial.split, trial.real),
        _precision("real_poses", aligner, trial, trial.real),
    ]
    for name, sampler in compared.items():
        rows += _figures(name, sampler, aligner, trial, GUIDANCE)
    rows += _figures("no_guidance_ramp", compared["text_pose"], aligner, trial, (_EVEN, _EVEN))
    rows.append(_time(compared["text_pose"]))
    for row in rows:
        span = f"  ({row['low']:.1f} to {row['high']:.1f})" if "low" in row else ""
        print(
            f"{row['name']:18s} {row['case']:16s} {row['metric']:30s} {row['value']:9.3f}"
            f" {row['unit']}{span}"
        )
    if args.json:
        write_json({"rows": rows}, args.json)
    return 0


@dataclass(frozen=True)
class _Trial:
    """Texts of a split, with a real pose for each.

    Attributes:
        split: name of the split.
        texts: one for each pose.
        real: the poses.
        cluster: of each pose.
        centres: of the clusters.
    """

    split: str
    texts: list[str]
    real: list[Poses]
    cluster: NDArray[np.int64]
    centres: F64


def _trial(library: MotionLibrary, descriptions: Descriptions, split: str, count: int) -> _Trial:
    known = collect(library, library.require(split), descriptions, SIZES[0], balanced=False)
    number = min(count, len(known.rows) // 2)
    chosen = np.random.default_rng(3).choice(len(known.rows), number, replace=False)
    texts = [known.texts[known.of[i][0]] for i in chosen]
    real = [
        Poses(*decode_pose(known.rows[i : i + 1]), words=(), attention=np.zeros(0)) for i in chosen
    ]
    return _Trial(split, texts, real, known.cluster[chosen], known.centres)


def _figures(
    name: str,
    sampler: PoseSampler,
    aligner: Aligner,
    trial: _Trial,
    guidance: tuple[float, float],
) -> list[Row]:
    """All rows of a network."""
    drawn = [
        sampler.sample(text, _PER_TEXT, seed=i, guidance=guidance)
        for i, text in enumerate(trial.texts)
    ]
    return [
        *_anatomy(name, trial.split, drawn),
        _precision(name, aligner, trial, drawn),
        *_clusters(name, trial, drawn),
    ]


def _anatomy(name: str, split: str, drawn: list[Poses]) -> list[Row]:
    owner = _owner(drawn)
    rotations = np.concatenate([poses.rotations for poses in drawn])
    positions = np.concatenate([poses.positions() for poses in drawn])
    inside = 1.0 - range_violations(rotations)[:, 1:].any(1)
    corrected = np.concatenate([poses.corrected_deg for poses in drawn])
    offsets = np.linalg.norm(Skeleton.from_height().offsets, axis=1)
    bones = np.linalg.norm(positions[:, 1:] - positions[:, list(PARENTS[1:])], axis=-1)
    return [
        _share(name, "within_ranges_pct", np.asarray(inside, np.float64), owner, split),
        _intersecting(name, split, drawn),
        _row(name, "bone_length_error_mm", 1e3 * np.abs(bones - offsets[1:]).max(), "mm", split),
        _row(name, "corrected_by_ranges_deg", corrected.mean(), "deg", split),
    ]


def _intersecting(name: str, split: str, drawn: list[Poses]) -> Row:
    hits = intersections(np.concatenate([poses.positions() for poses in drawn]))
    return _share(name, "self_intersection_pct", hits.astype(np.float64), _owner(drawn), split)


def _owner(drawn: list[Poses]) -> NDArray[np.int64]:
    """Index of the text of each pose."""
    return np.repeat(np.arange(len(drawn)), [len(poses.rotations) for poses in drawn])


def _precision(name: str, aligner: Aligner, trial: _Trial, drawn: list[Poses]) -> Row:
    """Share of poses whose own text is ranked first among 32 by the alignment model."""
    rng = np.random.default_rng(0)
    texts = np.array(trial.texts)
    vectors = aligner.texts(trial.texts)
    hits = []
    owner = []
    for i, poses in enumerate(drawn):
        others = np.flatnonzero(texts != texts[i])
        for p, q in zip(poses.positions(), poses.rotations, strict=True):
            still = Motion(10.0, np.repeat(p[None], 15, 0), np.repeat(q[None], 15, 0))
            score = vectors @ aligner.motion(still)
            pool = rng.choice(others, min(POOL - 1, len(others)), replace=False)
            hits.append(float(score[i] > score[pool].max()))
            owner.append(i)
    return _share(name, "own_text_first_of_32_pct", np.array(hits), np.array(owner), trial.split)


def _clusters(name: str, trial: _Trial, drawn: list[Poses]) -> list[Row]:
    """Share of generated poses in the cluster of the real one, and share of each cluster."""
    away = np.concatenate([poses.positions() - poses.root[:, None] for poses in drawn])
    found = nearest(away, trial.centres)
    owner = _owner(drawn)
    same = (found == trial.cluster[owner]).astype(np.float64)
    shares = (np.bincount(x, minlength=CLUSTERS) / len(x) for x in (found, trial.cluster))
    off = 50 * np.abs(np.subtract(*shares)).sum()
    return [
        _share(name, "cluster_of_the_real_pose_pct", same, owner, trial.split),
        _row(name, "poses_in_other_clusters_than_asked_pct", off, "%", trial.split),
    ]


def _time(sampler: PoseSampler) -> Row:
    """CPU time, which is independent of other load."""

    def once(work: Callable[[], Poses]) -> float:
        begun = process_time()
        work()
        return process_time() - begun

    sampler.sample("arms raised", 6)
    best = min(once(lambda: sampler.sample("arms raised", 6)) for _ in range(3))
    return _row("text_pose", f"six_poses_in_{STEPS}_steps_s", best, "s", "onnxruntime")


def _share(name: str, metric: str, values: F64, owner: NDArray[np.int64], split: str) -> Row:
    value, low, high = interval(values, owner)
    row = _row(name, metric, value, "%", split)
    return {**row, "low": round(low, 2), "high": round(high, 2)}


def _row(name: str, metric: str, value: float, unit: str, case: str) -> Row:
    return {
        "name": name,
        "case": case,
        "metric": metric,
        "value": round(float(value), 4),
        "unit": unit,
    }
