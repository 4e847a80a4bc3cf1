"""`pallas eval text_pose`: anatomy, agreement with the text, clusters and time."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation.corrections import range_violations
from hpstm_ros.generation.poses import GUIDANCE, STEPS, Poses, PoseSampler
from hpstm_ros.language.alignment.aligner import Aligner
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.train.alignment.measures import interval
from hpstm_ros.train.text_pose.data import PoseSet, collect, nearest
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, PARENTS
from pallas_ros.body.resources import resource
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import MotionLibrary

F64 = NDArray[np.float64]
Row = dict[str, Any]

HELP = "measure text to pose: anatomy, agreement with the text, clusters, time"
POOL = 32
_PER_TEXT = 4
_LIMBS = (("left_elbow", "left_wrist"), ("right_elbow", "right_wrist"))
_TRUNK = ("pelvis", "neck")
_TRUNK_M = 0.11
"""Least distance of a forearm's axis from the trunk's: half the depth of a chest."""
_LIMB_M = 0.05
"""Least distance of two limbs' axes: the thickness of a wrist."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument("--model", default="models/text_pose.onnx", help="the network")
    parser.add_argument("--texts", type=int, default=64, help="texts of other people's clips")
    parser.add_argument("--json", metavar="F", help="write every figure there too")


def run(args: argparse.Namespace) -> int:
    """Measure."""
    library = MotionLibrary.open(args.data)
    sampler = PoseSampler(resource(args.model))
    described = Descriptions.open(args.data)
    real = collect(library, library.require("unseen_subjects"), described, 1300, balanced=False)
    rng = np.random.default_rng(3)
    number = min(args.texts, len(real.rows) // 2)
    chosen = rng.choice(len(real.rows), number, replace=False)
    texts = [real.texts[real.of[i][0]] for i in chosen]
    aligner = Aligner.default()
    rows: list[Row] = []
    for name, guidance in (("text_pose", GUIDANCE), ("no_guidance_ramp", (4.0, 4.0))):
        drawn = [
            sampler.sample(text, _PER_TEXT, seed=i, guidance=guidance)
            for i, text in enumerate(texts)
        ]
        rows += _anatomy(name, drawn)
        rows.append(_precision(name, aligner, texts, drawn))
    rows.append(_precision("real_poses", aligner, texts, _as_poses(real, chosen)))
    rows += _clusters(sampler, real, texts, chosen)
    rows.append(_time(sampler))
    for row in rows:
        span = f"  ({row['low']:.1f} to {row['high']:.1f})" if "low" in row else ""
        print(
            f"{row['name']:18s} {row['case']:16s} {row['metric']:30s} {row['value']:9.3f}"
            f" {row['unit']}{span}"
        )
    if args.json:
        Path(args.json).write_text(json.dumps({"rows": rows}, indent=1))
    return 0


def intersections(positions: F64) -> NDArray[np.bool_]:
    """(N,) whether a forearm of poses (N, 22, 3) is in the trunk, or limbs in each other."""
    hit = np.zeros(len(positions), np.bool_)
    trunk = _segment(positions, _TRUNK)
    for limb in _LIMBS:
        hit |= _apart(_segment(positions, limb), trunk) < _TRUNK_M - 0.03
    hit |= _apart(_segment(positions, _LIMBS[0]), _segment(positions, _LIMBS[1])) < _LIMB_M - 0.03
    shanks = [(f"{side}_knee", f"{side}_ankle") for side in ("left", "right")]
    hit |= _apart(*(_segment(positions, shank) for shank in shanks)) < _LIMB_M - 0.02
    return hit


def _segment(positions: F64, ends: tuple[str, str]) -> F64:
    """(N, 9, 3) points along a bone."""
    a, b = (positions[:, JOINT_INDEX[name]] for name in ends)
    part = np.linspace(0, 1, 9)[None, :, None]
    return np.asarray(a[:, None] * (1 - part) + b[:, None] * part)


def _apart(first: F64, second: F64) -> F64:
    away = np.linalg.norm(first[:, :, None] - second[:, None], axis=-1)
    return np.asarray(away.min((1, 2)))


def _anatomy(name: str, drawn: list[Poses]) -> list[Row]:
    owner = np.repeat(np.arange(len(drawn)), _PER_TEXT)
    rotations = np.concatenate([poses.rotations for poses in drawn])
    positions = np.concatenate([poses.positions() for poses in drawn])
    inside = np.asarray(1.0 - range_violations(rotations)[:, 1:].any(1), dtype=np.float64)
    offsets = np.linalg.norm(Skeleton.from_height().offsets, axis=1)
    bones = np.linalg.norm(positions[:, 1:] - positions[:, list(PARENTS[1:])], axis=-1)
    return [
        _share(name, "within_ranges_pct", inside, owner),
        _share(name, "self_intersection_pct", intersections(positions).astype(float), owner),
        _row(name, "bone_length_error_mm", 1e3 * float(np.abs(bones - offsets[1:]).max()), "mm"),
    ]


def _precision(name: str, aligner: Aligner, texts: list[str], drawn: list[Poses]) -> Row:
    """How often the alignment ranks a pose's own text first among 32 different ones."""
    rng = np.random.default_rng(0)
    vectors = aligner.texts(texts)
    different = ~np.eye(len(texts), dtype=bool) & (np.array(texts)[:, None] != np.array(texts))
    hits = []
    owner = []
    for i, poses in enumerate(drawn):
        others = np.flatnonzero(different[i])
        for k in range(len(poses.rotations)):
            still = Motion(
                10.0,
                np.repeat(poses.positions()[k : k + 1], 15, 0),
                np.repeat(poses.rotations[k : k + 1], 15, 0),
            )
            score = vectors @ aligner.motion(still)
            pool = rng.choice(others, min(POOL - 1, len(others)), replace=False)
            hits.append(float(score[i] > score[pool].max()))
            owner.append(i)
    return _share(name, "own_text_first_of_32_pct", np.array(hits), np.array(owner))


def _as_poses(real: PoseSet, chosen: NDArray[np.int64]) -> list[Poses]:
    from hpstm_ros.generation.poses import decode_pose

    found = []
    for i in chosen:
        q, root = decode_pose(real.rows[i : i + 1])
        found.append(Poses(q, root, (), np.zeros(0)))
    return found


def _clusters(
    sampler: PoseSampler, real: PoseSet, texts: list[str], chosen: NDArray[np.int64]
) -> list[Row]:
    """How often a pose drawn for a text lies in the cluster of the real one."""
    wanted = real.cluster[chosen]
    same = []
    owner = []
    for i, (text, cluster) in enumerate(zip(texts, wanted)):
        poses = sampler.sample(text, _PER_TEXT, seed=100 + i)
        away = poses.positions() - poses.root[:, None]
        same += (nearest(away, real.centres) == cluster).astype(float).tolist()
        owner += [i] * _PER_TEXT
    return [_share("text_pose", "cluster_of_the_real_pose_pct", np.array(same), np.array(owner))]


def _time(sampler: PoseSampler) -> Row:
    def once(work: Callable[[], Poses]) -> float:
        begun = perf_counter()
        work()
        return perf_counter() - begun

    sampler.sample("arms raised", 6)
    best = min(once(lambda: sampler.sample("arms raised", 6)) for _ in range(3))
    return _row("text_pose", f"six_poses_in_{STEPS}_steps_s", best, "s", "onnxruntime")


def _share(name: str, metric: str, values: F64, owner: NDArray[np.int64]) -> Row:
    value, low, high = interval(values, owner)
    row = _row(name, metric, value, "%")
    return {**row, "low": round(low, 2), "high": round(high, 2)}


def _row(name: str, metric: str, value: float, unit: str, case: str = "unseen_subjects") -> Row:
    return {
        "name": name,
        "case": case,
        "metric": metric,
        "value": round(value, 4),
        "unit": unit,
    }
