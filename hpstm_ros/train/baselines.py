"""The classical filters that HPSTM is compared with: what can be tuned of each, tuning on the validation split, and running them on trials."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from hpstm_ros.smoothing.filters import Filter, Kalman, MedianFirst, OneEuro, Raw, SavitzkyGolay
from hpstm_ros.smoothing.tuned import Settings
from hpstm_ros.train.trials import Trial
from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]
LOOKAHEADS = (0, 2, 5, 10)
SETTLE_FRAMES = 30
"""Frames at the start of a trial that are left out: every filter is still finding its feet."""


def make(name: str, lookahead: int, settings: Settings) -> Filter:
    """A filter by name; ``median+NAME`` puts a running median before it, of ``median`` frames, ``median_lookahead`` of them ahead.

    Raises:
        PallasError: no such filter.
    """
    own = {key: value for key, value in settings.items() if not key.startswith("median")}
    if name.startswith("median+"):
        ahead = int(settings["median_lookahead"])
        return MedianFirst(make(name[7:], lookahead - ahead, own), int(settings["median"]), ahead)
    makers: dict[str, Callable[[], Filter]] = {
        "raw": lambda: Raw(lookahead),
        "one_euro": lambda: OneEuro(**own),
        "savitzky_golay": lambda: SavitzkyGolay(lookahead=lookahead, **own),
        "kalman": lambda: Kalman(lookahead=lookahead, **own),
    }
    if name not in makers:
        raise PallasError(f"unknown filter '{name}': known are {', '.join(makers)}, and median+ before each")
    return makers[name]()


def candidates(name: str, lookahead: int) -> Iterator[Settings]:
    """The settings that tuning tries."""
    if name.startswith("median+"):
        for window, ahead in ((3, 0), (3, 1), (5, 0), (5, 2)):
            if ahead <= lookahead:
                for own in candidates(name[7:], lookahead - ahead):
                    if "gate" not in own or own["gate"] == 0.0:
                        yield {**own, "median": window, "median_lookahead": ahead}
        return
    grids: dict[str, dict[str, tuple[float, ...]]] = {
        "raw": {},
        "one_euro": {
            "min_cutoff": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
            "beta": (8.0, 15.0, 30.0, 60.0, 120.0),
            "derivative_cutoff": (0.05, 0.1, 0.2, 0.4, 0.8, 2.0),
        },
        "savitzky_golay": {"window": (7, 9, 11, 13, 15, 17, 21, 25, 31), "order": (1, 2, 3)},
        "kalman": {"process": (10.0, 20.0, 27.0, 35.0, 60.0, 110.0), "measurement": (0.014,), "gate": (0.0, 3.0, 4.0, 5.0, 6.5)},
    }
    grid = grids[name]
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        if name == "savitzky_golay" and not (lookahead < settings["window"] and settings["order"] < settings["window"]):
            continue
        yield settings


NAMES = ("raw", "one_euro", "savitzky_golay", "kalman", "median+one_euro", "median+savitzky_golay", "median+kalman")


def smooth(filter_: Filter, clips: list[Trial], lookahead: int) -> list[F64]:
    """The trials through one filter, side by side: positions (T - lookahead, 22, 3) of each, frame k of which is of frame k.

    A filter that does not use its look-ahead (One-Euro) is cut to the same frames.
    """
    longest = max(len(t) for t in clips)
    stacked = np.stack([np.concatenate((t.noisy, np.repeat(t.noisy[-1:], longest - len(t), axis=0))) for t in clips], axis=1)
    out = [points for frame in stacked if (points := filter_.push(frame)) is not None]
    return [np.stack([points[row] for points in out[: len(t) - lookahead]]) for row, t in enumerate(clips)]


def error_mm(estimates: list[F64], clips: list[Trial]) -> float:
    """Mean joint error in mm over all frames after the first `SETTLE_FRAMES`."""
    errors = [np.linalg.norm(e - t.truth[: len(e)], axis=-1)[SETTLE_FRAMES:].ravel() for e, t in zip(estimates, clips, strict=True)]
    return 1e3 * float(np.concatenate(errors).mean())


def tune(clips: list[Trial], names: Sequence[str] = NAMES) -> dict[str, dict[int, Settings]]:
    """The settings of least error on some trials (of the validation split), by filter and look-ahead."""
    best: dict[str, dict[int, Settings]] = {}
    causal = tuple(name for name in names if name.endswith("one_euro"))  # the look-ahead changes nothing
    jobs = [
        (name, lookahead, own)
        for name in names
        for lookahead in LOOKAHEADS
        if name not in causal or lookahead == 0
        for own in candidates(name, lookahead)
    ]
    least: dict[tuple[str, int], float] = {}
    for name, lookahead, own in tqdm(jobs, desc="tuning filters"):
        error = error_mm(smooth(make(name, lookahead, own), clips, lookahead), clips)
        if error < least.get((name, lookahead), np.inf):
            least[name, lookahead] = error
            best.setdefault(name, {})[lookahead] = {**own, "validation_mm": round(error, 2)}
    for name in causal:
        best[name] = dict.fromkeys(LOOKAHEADS, best[name][0])
    return best


def save(best: dict[str, dict[int, Settings]], path: Path) -> None:
    """Write tuned settings; those of other filters in the file stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = "# The classical filters' best settings on the validation split (`pallas eval hpstm --tune` makes this file).\n"
    before = (yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}
    plain = {name: {lookahead: dict(own) for lookahead, own in by.items()} for name, by in (before | best).items()}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(head + yaml.dump(plain, sort_keys=False, default_flow_style=None, width=140))
    temporary.replace(path)
