"""Classical filters that are compared with HPSTM: tunable settings, tuning on the validation split,
and application to trials.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from hpstm_ros.smoothing.filters import Filter, Kalman, MedianFirst, OneEuro, Raw, SavitzkyGolay
from hpstm_ros.smoothing.tuned import FilterSettings
from hpstm_ros.train.trials import Trial
from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]
LOOKAHEADS = (0, 2, 5, 10)
SETTLE_FRAMES = 30
"""Frames at the start of a trial that are excluded, while the filters settle."""


def make(name: str, lookahead: int, settings: FilterSettings) -> Filter:
    """Make a filter by name; ``median+NAME`` prepends a running median of ``median`` frames, of
    which ``median_lookahead`` are ahead.

    Raises:
        PallasError: there is no such filter.
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
        raise PallasError(
            f"unknown filter '{name}': known are {', '.join(makers)}, and median+ before each"
        )
    return makers[name]()


def _ladder(low: float, high: float, rungs: int) -> tuple[float, ...]:
    return tuple(float(f"{value:.3g}") for value in np.geomspace(low, high, rungs))


_LADDERS: dict[str, dict[str, tuple[float, ...]]] = {
    "raw": {},
    "one_euro": {
        "min_cutoff": (0.0, *_ladder(0.001, 30.0, 24)),
        "beta": _ladder(0.1, 1000.0, 24),
        "derivative_cutoff": _ladder(0.01, 30.0, 20),
        "lookahead": (0, 1, 2, 3, 4, 5),
    },
    "savitzky_golay": {"window": tuple(range(3, 62, 2)), "order": (0, 1, 2, 3, 4, 5)},
    # only the ratio of process and measurement counts, and the gate is in deviations
    "kalman": {
        "process": _ladder(1.0, 1000.0, 42),
        "measurement": (0.014,),
        "gate": (
            1.0,
            1.5,
            2.0,
            2.25,
            2.5,
            2.75,
            3.0,
            3.5,
            4.0,
            4.5,
            5.0,
            6.0,
            8.0,
            12.0,
            0.0,
        ),  # 0: none
        "patience": (1, 2, 3, 4, 5, 6, 8, 12, 20),
    },
}
_MEDIAN_LADDERS: dict[str, tuple[float, ...]] = {
    "median": (1, 3, 5, 7, 9, 11),
    "median_lookahead": (0, 1, 2, 3, 4, 5),
}
_START: FilterSettings = {
    "min_cutoff": 0.1,
    "beta": 15.0,
    "derivative_cutoff": 0.3,
    "lookahead": 0,
    "window": 11,
    "process": 30.0,
    "measurement": 0.014,
    "gate": 4.0,
    "patience": 6,
}
_STARTS: dict[str, tuple[float, ...]] = {
    "order": (1, 2, 3),
    "lookahead": (0, 2, 4),
    "median": (3, 5),
}
"""Starting values of settings whose optimum depends on the others; the search starts from each."""


def search(
    name: str, lookahead: int, error: Callable[[FilterSettings], float]
) -> tuple[FilterSettings, float]:
    """Settings of a filter with minimal ``error``, and this error, by coordinate descent: one
    setting at a time is moved by four, two or one grid steps until there is no improvement.

    The grids extend beyond all practical values, so that no optimum is at a boundary.
    """
    ladders = {
        **_LADDERS[name.removeprefix("median+")],
        **(_MEDIAN_LADDERS if name.startswith("median+") else {}),
    }
    tried: dict[tuple[int, ...], float] = {}

    def of(where: dict[str, int]) -> float:
        settings = {key: ladders[key][rung] for key, rung in where.items()}
        rungs = tuple(where.values())
        if rungs not in tried:
            tried[rungs] = error(settings) if _possible(settings, lookahead) else np.inf
        return tried[rungs]

    ends = [_descend(start, ladders, of) for start in _starts(ladders, lookahead)]
    best = min(ends, key=of)
    return {key: ladders[key][rung] for key, rung in best.items()}, of(best)


def _starts(ladders: dict[str, tuple[float, ...]], lookahead: int) -> Iterator[dict[str, int]]:
    """Starting grid points; a median starts centred, as far as the look-ahead allows."""
    own = {key: values for key, values in _STARTS.items() if key in ladders}
    for values in itertools.product(*own.values()):
        start = {**_START, **dict(zip(own, values, strict=True))}
        start["lookahead"] = min(start["lookahead"], lookahead)
        start["median_lookahead"] = min(start.get("median", 1) // 2, lookahead - start["lookahead"])
        yield {
            key: int(np.argmin([abs(rung - start[key]) for rung in ladder]))
            for key, ladder in ladders.items()
        }


def _descend(
    at: dict[str, int], ladders: dict[str, tuple[float, ...]], of: Callable[[dict[str, int]], float]
) -> dict[str, int]:
    """Grid point from which no step of 4, then 2, then 1 reduces the error."""
    for stride in (4, 2, 1):
        better = True
        while better:
            better = False
            for key, ladder in ladders.items():
                steps = [
                    {**at, key: at[key] + way}
                    for way in (-stride, stride)
                    if 0 <= at[key] + way < len(ladder)
                ]
                step = min(steps, key=of, default=at)
                if of(step) < of(at):
                    at = step
                    better = True
    return at


def _possible(settings: FilterSettings, lookahead: int) -> bool:
    """Whether a filter with these settings supports the look-ahead."""
    ahead = settings.get("median_lookahead", 0)
    if ahead + settings.get("lookahead", 0) > lookahead or ahead >= settings.get("median", np.inf):
        return False
    return (
        "window" not in settings or max(lookahead - ahead, settings["order"]) < settings["window"]
    )


NAMES = (
    "raw",
    "one_euro",
    "savitzky_golay",
    "kalman",
    "median+one_euro",
    "median+savitzky_golay",
    "median+kalman",
)


def smooth(filter_: Filter, clips: list[Trial], lookahead: int) -> list[F64]:
    """Filter several trials in parallel: positions (T - lookahead, 22, 3) m of each, where
    frame k is the estimate for frame k.

    The output of a filter that uses less look-ahead (One-Euro) is cut to the same frames.
    """
    longest = max(len(t) for t in clips)
    stacked = np.stack(
        [
            np.concatenate((t.noisy, np.repeat(t.noisy[-1:], longest - len(t), axis=0)))
            for t in clips
        ],
        axis=1,
    )
    out = [points for frame in stacked if (points := filter_.push(frame)) is not None]
    return [
        np.stack([points[row] for points in out[: len(t) - lookahead]])
        for row, t in enumerate(clips)
    ]


def error_mm(estimates: list[F64], clips: list[Trial]) -> float:
    """Mean joint error in mm over all frames after the first `SETTLE_FRAMES`."""
    errors = [
        np.linalg.norm(e - t.truth[: len(e)], axis=-1)[SETTLE_FRAMES:].ravel()
        for e, t in zip(estimates, clips, strict=True)
    ]
    return 1e3 * float(np.concatenate(errors).mean())


def tune(name: str, clips: list[Trial]) -> dict[int, FilterSettings]:
    """Settings of a filter with minimal error on trials (of the validation split), by look-
    ahead.
    """
    best: dict[int, FilterSettings] = {}
    for lookahead in tqdm(LOOKAHEADS, desc=f"tuning {name}"):
        settings, least = search(name, lookahead, partial(_error_of, name, lookahead, clips))
        best[lookahead] = {**settings, "validation_mm": round(least, 2)}
    return best


def _error_of(name: str, lookahead: int, clips: list[Trial], settings: FilterSettings) -> float:
    return error_mm(smooth(make(name, lookahead, settings), clips, lookahead), clips)


def save(best: dict[str, dict[int, FilterSettings]], path: Path) -> None:
    """Write tuned settings; those of other filters in the file are kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = (
        "# The classical filters' best settings on the validation split (`pallas eval hpstm --tune`"
        " makes this file).\n"
    )
    before = (yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}
    plain = {
        name: {lookahead: dict(own) for lookahead, own in by.items()}
        for name, by in (before | best).items()
    }
    temporary = path.with_suffix(".tmp")
    temporary.write_text(
        head + yaml.dump(plain, sort_keys=False, default_flow_style=None, width=140)
    )
    temporary.replace(path)
