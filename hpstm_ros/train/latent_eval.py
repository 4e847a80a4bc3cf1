"""`pallas eval latent`: reconstruction, quality by text, effect of the length, and speed."""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from time import process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from hpstm_ros.generation.flow import original
from hpstm_ros.generation.latent import LatentGenerator
from hpstm_ros.generation.request import Request
from hpstm_ros.generation.tokens import TokenGenerator
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.train.generated import (
    Described,
    Row,
    Sampler,
    check_amounts,
    quality_rows,
    report,
    sampler,
    seeds_row,
)
from hpstm_ros.train.heading_windows import Clips
from hpstm_ros.train.latent_data import SHORTEST, cut, spans
from hpstm_ros.train.latent_export import load_latent
from hpstm_ros.train.latent_training import reconstruction
from hpstm_ros.train.retrieval import Retrieval
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.resources import resource
from pallas_ros.data.library import MotionLibrary
from pallas_ros.files.json_output import check_json

F64 = NDArray[np.float64]
HELP = "Evaluate the length-aware generator, and compare it with the others."
_SPLITS = ("validation_subjects", "unseen_subjects")
_HELD_OUT = ("validation", "seen", "validation_subjects", "unseen_subjects")
_WRISTS = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]
_BINS = 8
_LONGEST_S = 9.5
_EACH = 3
"""Number of clips per request and length."""
_APART = 1.5
"""Minimum ratio of the durations of long and short clips."""
_TIMED = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--model", default="models/latent.onnx", help="the network")
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument("--requests", type=int, default=32, help="descriptions to generate for")
    parser.add_argument("--seeds", type=int, default=2, help="motions a description")
    parser.add_argument("--lengths", type=int, default=8, help="requests of short and long motion")
    parser.add_argument("--json", metavar="F", help="write every figure there too")


def run(args: argparse.Namespace) -> int:
    """Run the evaluation, and print or write the figures.

    Raises:
        PallasError: an input is missing or invalid.
    """
    from hpstm_ros.language.alignment.aligner import Aligner

    check_json(args.json)
    check_amounts(args.requests, args.seeds)
    if args.lengths < 1:
        raise PallasError("give at least 1 of --lengths")
    library = MotionLibrary.open(args.data, alignment="bent")
    descriptions = Descriptions.open(args.data)
    made = LatentGenerator(args.model)
    rows = reconstruction_rows(args.model, library)
    rows += speed_rows(made)
    samplers: dict[str, Sampler] = {
        "latent": sampler(made),
        "tokens": sampler(TokenGenerator()),
        "flow": sampler(original()),
    }
    described = Described.of(library, descriptions, args.requests)
    compared: dict[str, Sampler] = {**samplers, "retrieval": Retrieval(library, descriptions)}
    rows += quality_rows(compared, described, Aligner.default(), args.seeds)
    rows += length_rows(samplers, length_pairs(library, descriptions, args.lengths))
    report(rows, args.json)
    return 0


def reconstruction_rows(path: str, library: MotionLibrary) -> list[Row]:
    """Error of joints and paths after encoding and decoding, in cm."""
    model, document = load_latent(resource(path).with_suffix(".safetensors"))
    packs = document["training"]["packs"]
    rows = []
    for split in _SPLITS:
        clips = [clip for clip in library.select(split) if not packs or clip.pack in packs]
        cuts = Clips.of(library, clips, SHORTEST)
        named = {clip.name: clip.pack for clip in clips}
        found = spans(cuts, named, model.config.longest, 1.0, 1)
        sums: dict[str, float] = defaultdict(float)
        for first in range(0, len(found), 32):
            part = np.arange(first, min(first + 32, len(found)))
            batch = cut(cuts, found, part, np.zeros_like(part), model.config.patch)
            with torch.no_grad():
                for name, value in reconstruction(model.vae, *batch).items():
                    sums[name] += len(part) * value
        rows += [_figure(split, name, sums[name] / len(found), "cm") for name in sums]
    return rows


def speed_rows(made: LatentGenerator) -> list[Row]:
    """CPU time for 4 s and 10 s of motion, including the text, on one thread."""
    rows = []
    for seconds in (4.0, 10.0):
        times = []
        for seed in range(_TIMED + 1):
            request = Request("wave with the right hand", seconds, seed)
            began = process_time()
            made.generate(request, lambda stage, part: None)
            times.append(1e3 * (process_time() - began))
        name = f"generate_{seconds:g}s_ms"
        rows.append(_figure("onnxruntime", name, float(np.median(times[1:])), "ms"))
    return rows


@dataclass(frozen=True)
class LengthPair:
    """Short and long real motions of one meaning.

    Attributes:
        text: the request.
        short, long: the motions.
    """

    text: str
    short: tuple[Motion, ...]
    long: tuple[Motion, ...]


def length_pairs(
    library: MotionLibrary, descriptions: Descriptions, count: int
) -> list[LengthPair]:
    """The ``count`` meanings with the most clips not used for training any generator.

    Raises:
        PallasError: the data contain too few such clips.
    """
    by_meaning: dict[str, list[Any]] = defaultdict(list)
    texts: dict[str, str] = {}
    for clip in (clip for split in _HELD_OUT for clip in library.select(split)):
        said = descriptions.of(clip)
        if said and SHORTEST / 30 + 0.2 <= clip.seconds <= _LONGEST_S:
            by_meaning[said[0].meaning].append(clip)
            texts.setdefault(said[0].meaning, said[0].text)
    pairs: list[LengthPair] = []
    for meaning, clips in sorted(by_meaning.items(), key=lambda item: -len(item[1])):
        clips = sorted(clips, key=lambda clip: clip.seconds)
        if len(clips) < 2 * _EACH or len(pairs) == count:
            continue
        short = clips[:_EACH]
        long = clips[-_EACH:]
        if long[0].seconds >= _APART * short[-1].seconds:
            motions = [tuple(library.motion(clip) for clip in part) for part in (short, long)]
            pairs.append(LengthPair(texts[meaning], motions[0], motions[1]))
    if not pairs:
        raise PallasError("no description has short and long clips that were held out")
    return pairs


def profile(motion: Motion) -> F64:
    """Mean speed (8,) of the joints in m/s, over equal parts of the motion."""
    step = np.diff(motion.positions, axis=0)
    speed = motion.fps * np.linalg.norm(step, axis=-1).mean(axis=1)
    return np.array([part.mean() for part in np.array_split(speed, _BINS)])


def extent(motion: Motion) -> float:
    """Range of the wrists relative to the pelvis: diagonal of their bounding boxes, m."""
    about = motion.positions[:, _WRISTS] - motion.positions[:, :1]
    return float(np.linalg.norm(np.ptp(about, axis=0), axis=-1).mean())


def first_part(motion: Motion, seconds: float) -> Motion:
    """The first ``seconds`` of a motion."""
    frames = max(round(seconds * motion.fps) + 1, _BINS + 1)
    return Motion(motion.fps, motion.positions[:frames], motion.rotations[:frames])


def length_rows(samplers: Mapping[str, Sampler], pairs: list[LengthPair]) -> list[Row]:
    """Errors of speed profile and extent for motion of two lengths, compared with real motion.

    The case ``cut`` is the long motion, truncated to the length of the short one.
    """
    real: dict[str, list[Motion]] = defaultdict(list)
    for pair in pairs:
        real["short"] += pair.short
        real["long"] += pair.long
        real["cut"] += [
            first_part(b, a.duration) for a, b in zip(pair.short, pair.long, strict=True)
        ]
    rows = _length_figures("real", {"cut": real["cut"]}, real)
    for name, draw in samplers.items():
        made: dict[str, list[Motion]] = defaultdict(list)
        for pair in tqdm(pairs, desc=f"{name} by length", unit=" requests"):
            for seed, (a, b) in enumerate(zip(pair.short, pair.long, strict=True)):
                long = draw(pair.text, 100 + seed, 1, b.duration)[0]
                made["short"] += draw(pair.text, 100 + seed, 1, a.duration)
                made["long"].append(long)
                made["cut"].append(first_part(long, a.duration))
        rows += _length_figures(name, made, real)
    return rows


def _length_figures(
    name: str, made: Mapping[str, list[Motion]], real: Mapping[str, list[Motion]]
) -> list[Row]:
    """Errors over the motions of each case; groups of three motions belong to one request."""
    rows = []
    for case, motions in made.items():
        truth = real["short" if case == "cut" else case]
        requests = range(len(motions) // _EACH)
        parts = [slice(_EACH * k, _EACH * k + _EACH) for k in requests]
        away = []
        reach = []
        for part in parts:
            found = np.mean([profile(motion) for motion in motions[part]], axis=0)
            wanted = np.mean([profile(motion) for motion in truth[part]], axis=0)
            away.append(float(np.abs(found - wanted).mean()))
            size = np.mean([extent(motion) for motion in motions[part]])
            reach.append(float(abs(size - np.mean([extent(motion) for motion in truth[part]]))))
        rows.append(_interval(name, case, "speed_profile_error_m_s", away, "m/s"))
        rows.append(_interval(name, case, "extent_error_cm", [100 * x for x in reach], "cm"))
    return rows


def _interval(name: str, case: str, metric: str, values: list[float], unit: str) -> Row:
    """The mean over requests, with a 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    row = seeds_row(name, case, metric, [float(np.mean(values))], unit)
    return {**row, "low": float(low), "high": float(high)}


def _figure(case: str, metric: str, value: float, unit: str) -> Row:
    """A row without an interval."""
    return {"name": "latent", "case": case, "metric": metric, "value": value, "unit": unit}
