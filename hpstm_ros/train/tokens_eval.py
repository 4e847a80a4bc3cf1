"""`pallas eval tokens`: reconstruction, use of the codebook, speed, and quality by text."""

import argparse
from time import process_time
from typing import Any

import numpy as np
import torch

from hpstm_ros.generation.request import Request
from hpstm_ros.generation.tokens import TokenGenerator
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.train.generated import (
    Described,
    Sampler,
    check_amounts,
    quality_rows,
    report,
    sampler,
)
from hpstm_ros.train.heading_windows import Clips, joint_positions
from hpstm_ros.train.retrieval import Retrieval
from hpstm_ros.train.tokens_export import load_tokens
from hpstm_ros.train.unlearning_eval import settings_in
from pallas_ros.body.resources import resource
from pallas_ros.data.library import MotionLibrary
from pallas_ros.files.json_output import check_json

Row = dict[str, Any]
SPLITS = ("validation_subjects", "unseen_subjects")
_WINDOW = 64
_SECONDS = 4.0
_TIMED = 7

HELP = "Evaluate the token generator."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--folder", default="models", help="folder of the token generator's files")
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument("--requests", type=int, default=64, help="descriptions to generate for")
    parser.add_argument("--seeds", type=int, default=2, help="motions per description")
    parser.add_argument(
        "--aligner",
        metavar="ONNX",
        help="alignment model that scores the motions (default: the released one)",
    )
    parser.add_argument("--json", metavar="F", help="also write every figure there")


def run(args: argparse.Namespace) -> int:
    """Run the evaluation, and print or write the figures.

    Raises:
        PallasError: an input is missing or invalid.
    """
    from hpstm_ros.language.alignment.aligner import MODEL, Aligner

    check_json(args.json)
    check_amounts(args.requests, args.seeds)
    folder = resource(args.folder)
    library = MotionLibrary.open(args.data, alignment="bent")
    generators = {
        "tokens": TokenGenerator(settings_in(folder, "tokens_codebook_unlearned.safetensors")),
        "tokens_original": TokenGenerator(settings_in(folder, "tokens_codebook.safetensors")),
    }
    rows = [row for split in SPLITS for row in reconstruction_rows(folder, library, split)]
    rows += speed_rows(generators["tokens"])
    descriptions = Descriptions.open(args.data)
    described = Described.of(library, descriptions, args.requests)
    samplers: dict[str, Sampler] = {
        name: sampler(generator) for name, generator in generators.items()
    }
    samplers["retrieval"] = Retrieval(library, descriptions)
    rows += quality_rows(samplers, described, Aligner(args.aligner or MODEL), args.seeds)
    report(rows, args.json)
    return 0


@torch.no_grad()
def reconstruction_rows(folder: Any, library: MotionLibrary, split: str) -> list[Row]:
    """Error of the joints after encoding and decoding, in cm, and the codebook's use in %."""
    vq, _, document = load_tokens(folder / "tokens.safetensors")
    packs = document["training"]["packs"]
    clips = Clips.of(library, [c for c in library.select(split) if c.pack in packs], _WINDOW)
    errors = []
    used = set()
    counts = np.zeros(vq.config.codes)
    for index in range(len(clips.names)):
        frames = clips.clip(index)
        whole = torch.from_numpy(np.array(frames[: len(frames) // 4 * 4]))[None]
        codes = vq.encode(whole)
        away = (joint_positions(vq.decode(codes)) - joint_positions(whole)).norm(dim=-1)
        errors.append(100 * float(away.mean()))
        used |= set(codes.flatten().tolist())
        counts += np.bincount(codes.flatten().numpy(), minlength=len(counts))
    share = counts[counts > 0] / counts.sum()
    perplexity = float(np.exp(-(share * np.log(share)).sum()))
    return [
        figure(split, "reconstruction_mpjpe_cm", float(np.mean(errors)), "cm"),
        figure(split, "codebook_used_percent", 100 * len(used) / len(counts), "%"),
        figure(split, "codebook_perplexity", perplexity, "codes"),
    ]


def speed_rows(generator: TokenGenerator) -> list[Row]:
    """CPU time for 4 s of motion, including the text, on one thread."""
    request = Request("wave with the right hand", _SECONDS)
    times = []
    for seed in range(_TIMED + 1):
        began = process_time()
        generator.generate(Request(**{**vars(request), "seed": seed}), lambda stage, done: None)
        times.append(1e3 * (process_time() - began))
    rounds = generator.settings.filling.rounds
    return [
        figure("onnxruntime", "generate_4s_ms", float(np.median(times[1:])), "ms"),
        figure("onnxruntime", "rounds", float(rounds), "passes"),
    ]


def figure(case: str, metric: str, value: float, unit: str) -> Row:
    """A row without an interval."""
    return {"name": "tokens", "case": case, "metric": metric, "value": value, "unit": unit}
