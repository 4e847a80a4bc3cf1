"""Draws the latent space of the length-aware generator by length, for held-out clips.

    python benchmarks/latent_space.py --data ../shared/data --out docs/images/latent_space.png

Left: two principal components of the standardised codes (at most 2.5), locked subspaces at zero,
coloured by duration. Right: RMS of the standardised codes of each subspace, by duration.
"""

import argparse
import itertools
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray

from hpstm_ros.generation.representation import FPS
from hpstm_ros.train.heading_windows import Clips
from hpstm_ros.train.latent_data import SHORTEST, cut, spans
from hpstm_ros.train.latent_export import load_latent
from pallas_ros.body.resources import resource
from pallas_ros.data.library import MotionLibrary

MOST = 2.5
"""Standard deviations; larger values, of a few motions (swimming, handstands), are not shown."""
SPLITS = ("validation", "validation_subjects", "unseen_subjects")


def codes(
    path: str, data: str, most: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]:
    """Standardised codes (N, K, D), which subspaces are unlocked (N, K), and frames (N,), of
    ``most`` clips."""
    model, document = load_latent(resource(path).with_suffix(".safetensors"))
    library = MotionLibrary.open(data, alignment="bent")
    packs = document["training"]["packs"]
    chosen = [
        clip
        for split in SPLITS
        for clip in library.select(split)
        if not packs or clip.pack in packs
    ]
    some = np.random.default_rng(0).permutation(len(chosen))[:most]
    chosen = [chosen[i] for i in sorted(some)]
    clips = Clips.of(library, chosen, SHORTEST)
    found = spans(clips, {clip.name: clip.pack for clip in chosen}, model.config.longest, 0.5, 1)
    means = []
    unlocked = []
    for first in range(0, len(found), 64):
        part = np.arange(first, min(first + 64, len(found)))
        frames, length = cut(clips, found, part, np.zeros_like(part), model.config.patch)
        with torch.no_grad():
            mean = (model.vae.encode(frames, length)[0] - model.flow.mean) / model.flow.scale
            there = model.vae.layout.unlocked(length)
        means.append((mean * there[..., None]).numpy())
        unlocked.append(there.numpy() > 0)
    return np.concatenate(means), np.concatenate(unlocked), found.frames


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--model", default="models/latent.onnx", help="the network")
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument("--clips", type=int, default=240, help="clips to encode")
    parser.add_argument("--out", required=True, help="picture (.png) to write")
    args = parser.parse_args()
    code, unlocked, frames = codes(args.model, args.data, args.clips)
    seconds = frames / FPS
    code = np.clip(code, -MOST, MOST)
    flat = code.reshape(len(code), -1)
    centred = flat - flat.mean(0)
    _, size, axes = np.linalg.svd(centred, full_matrices=False)
    at = centred @ axes[:2].T
    share = 100 * size[:2] ** 2 / (size**2).sum()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    dots = left.scatter(*at.T, c=seconds, s=6, cmap="viridis", linewidths=0)
    for limit, values in ((left.set_xlim, at[:, 0]), (left.set_ylim, at[:, 1])):
        limit(*np.quantile(values, (0.005, 0.97)))
    left.set_xlabel(f"first component ({share[0]:.0f} % of the variance)")
    left.set_ylabel(f"second component ({share[1]:.0f} %)")
    figure.colorbar(dots, ax=left, label="duration, s")
    edges = np.arange(1.0, 10.6, 0.5)
    spread = np.full((len(edges) - 1, code.shape[1]), np.nan)
    rms = np.sqrt((code**2).mean(-1))
    for row, (low, high) in enumerate(itertools.pairwise(edges)):
        chosen = (seconds >= low) & (seconds < high)
        if chosen.any():
            there = unlocked[chosen]
            total = (rms[chosen] * there).sum(0)
            spread[row] = np.where(there.any(0), total / np.maximum(there.sum(0), 1), np.nan)
    picture = right.imshow(
        spread,
        origin="lower",
        aspect="auto",
        extent=(0.5, code.shape[1] + 0.5, edges[0], edges[-1]),
        cmap="magma",
        vmin=0.0,
    )
    right.set_xlabel("subspace")
    right.set_ylabel("duration, s")
    figure.colorbar(picture, ax=right, label="rms of its numbers, standardised")
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=80)
    print(f"{args.out}: {len(code)} motions of {seconds.min():.1f} to {seconds.max():.1f} s")


if __name__ == "__main__":
    main()
