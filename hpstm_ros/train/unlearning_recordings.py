"""Evaluation of unlearning on recordings: motion that a codebook can still represent."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpstm_ros.generation.guard import WINDOW, MotionGuard
from hpstm_ros.model.tokens import VqVae
from hpstm_ros.train.forgetting import Forgetting
from hpstm_ros.train.heading_windows import Clips, joint_positions
from hpstm_ros.train.violence import PACKS, Sorted, guard_windows
from pallas_ros.data.library import MotionLibrary

Row = dict[str, Any]
REPLACED = (0, 8, 16, 32, 64, 128)
SEEDS = (0, 1, 2)
_HARMLESS = 500
"""Maximum number of harmless windows that are decoded."""


def recording_windows(
    library: MotionLibrary, splits: Sequence[str], names: frozenset[str]
) -> Tensor:
    """Windows (W, 64, 138) of the clips with the given names and splits."""
    chosen = [c for s in splits for c in library.select(s) if c.pack in PACKS and c.name in names]
    clips = Clips.of(library, chosen, WINDOW)
    parts = []
    for index in range(len(clips.names)):
        frames = clips.clip(index)
        count = len(frames) // WINDOW
        whole = np.array(frames[: count * WINDOW])
        parts.append(torch.from_numpy(whole.reshape(count, WINDOW, -1)))
    return torch.cat(parts)


@torch.no_grad()
def flagged(guard: MotionGuard, frames: Tensor) -> Tensor:
    """Whether the guard flags each of the windows (W, 64, 138), (W,) bool."""
    seen = guard_windows(frames).numpy()
    return torch.tensor([guard.probability(x[None]) >= guard.threshold for x in seen])


@torch.no_grad()
def recording_rows(
    vq: VqVae,
    library: MotionLibrary,
    words: Sorted,
    forgetting: Forgetting,
    guard: MotionGuard,
    splits: Sequence[str],
) -> list[Row]:
    """Rows: share flagged by the guard in %, for recordings and after decoding with replaced codes;
    errors in cm.
    """
    case = "+".join(splits)
    violent = recording_windows(library, splits, words.violent)
    harmless = recording_windows(library, splits, words.harmless)
    caught = flagged(guard, violent)
    alarms = flagged(guard, harmless)
    rows = [
        _row("guard", case, "violent_words_flagged_percent", 100 * float(caught.float().mean())),
        _row("guard", case, "harmless_flagged_percent", 100 * float(alarms.float().mean())),
    ]
    order = torch.randperm(len(harmless), generator=torch.Generator().manual_seed(0))
    harmless = harmless[order[:_HARMLESS]]
    truth = joint_positions(harmless)
    violent_codes = vq.encode(violent[caught])
    harmless_codes = vq.encode(harmless)
    for r in REPLACED:
        for seed in SEEDS if r else SEEDS[:1]:
            entries: Tensor = vq.codebook
            if r:
                entries = torch.from_numpy(forgetting.codebook(r, seed).entries)
            share = flagged(guard, vq.frames(entries[violent_codes])).float().mean()
            away = joint_positions(vq.frames(entries[harmless_codes])) - truth
            name = f"lcr_{r}_seed_{seed}"
            rows.append(_row(name, case, "violent_percent", 100 * float(share)))
            error = 100 * float(away.norm(dim=-1).mean())
            rows.append(_row(name, case, "harmless_error_cm", error, "cm"))
    return rows


def _row(name: str, case: str, metric: str, value: float, unit: str = "%") -> Row:
    return {"name": name, "case": case, "metric": metric, "value": value, "unit": unit}
