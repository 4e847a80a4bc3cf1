"""Figures of generated motion for any generator, with their range over seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hpstm_ros.generation import representation
from hpstm_ros.generation.corrections import correct
from hpstm_ros.generation.representation import FPS
from hpstm_ros.generation.request import CANDIDATES, Generator, Request
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.train import generator_measures as measures
from hpstm_ros.train.token_quality import Judged, diversity, frechet, r_precision, stacked
from hpstm_ros.train.violence import sort_clips
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.data.library import MotionLibrary
from pallas_ros.files.json_output import write_json

Row = dict[str, Any]
F64 = NDArray[np.float64]
Sampler = Callable[[str, int, int, float], list[Motion]]
"""Maps a text, a seed, a number and a duration in s to motions, corrected as for playback."""

SECONDS = 4.0
GUIDANCE = 2.0
MOST_SEEDS = CANDIDATES[1]
"""Maximum number of motions per description, which are drawn as one request."""
_LEAST_S = 2.0
"""s, minimum duration of the real clips for a meaningful evaluation."""


def sampler(generator: Generator) -> Sampler:
    """Make a `Sampler` from a generator."""

    def draw(text: str, seed: int, count: int, seconds: float = SECONDS) -> list[Motion]:
        request = Request(text, seconds, seed, count, GUIDANCE)
        drawn = generator.generate(request, lambda stage, part: None)
        return [representation.to_motion(correct(x), fps=representation.FPS) for x in drawn]

    return draw


def check_amounts(requests: int, seeds: int, least: int = 4) -> None:
    """Check the number of descriptions, and of motions for each.

    Raises:
        PallasError: a number is out of range.
    """
    if requests < least or not 1 <= seeds <= MOST_SEEDS:
        raise PallasError(f"give at least {least} --requests, and 1 to {MOST_SEEDS} --seeds")


@dataclass(frozen=True)
class Described:
    """Descriptions of real clips, with different meanings.

    Attributes:
        texts, keys: the descriptions and the keys of their meanings.
        motions: the clips.
    """

    texts: tuple[str, ...]
    keys: tuple[str, ...]
    motions: tuple[Motion, ...]

    @classmethod
    def of(cls, library: MotionLibrary, descriptions: Descriptions, count: int) -> "Described":
        """Harmless descriptions of people not used for training: the retain set."""
        clips = [c for c in library.select("unseen_subjects") if c.seconds >= _LEAST_S]
        harmless = sort_clips(clips, descriptions).harmless
        asked: dict[str, Any] = {}
        for clip in clips:
            said = descriptions.of(clip)
            if clip.name in harmless and said:
                asked.setdefault(said[0].meaning, (said[0].text, clip))
        chosen = dict(list(asked.items())[:count])
        texts = tuple(text for text, _ in chosen.values())
        motions = tuple(library.motion(clip) for _, clip in chosen.values())
        return cls(texts, tuple(chosen), motions)


def quality_rows(
    samplers: Mapping[str, Sampler], described: Described, aligner: Any, seeds: int
) -> list[Row]:
    """R-precision, Fréchet distance and diversity of generators, and of the real motion.

    Args:
        samplers: by the name of the rows.
        described: the requests, and the real motion.
        aligner: the `Aligner` that computes the embeddings. It is trained on the same clips and
            sentence vectors as the generators, so it favours typical motion of a sentence.
        seeds: number of motions per description.
    """
    texts = np.asarray(aligner.texts(list(described.texts)), np.float64)
    real = stacked([aligner.motion(motion) for motion in described.motions])
    rows = _judged_rows("real", [Judged(real, texts, described.keys)], real)
    for name, draw in samplers.items():
        found: list[list[Any]] = [[] for _ in range(seeds)]
        drawn: list[list[Motion]] = [[] for _ in range(seeds)]
        for number, text in enumerate(tqdm(described.texts, desc=name, unit=" requests")):
            for seed, motion in enumerate(draw(text, number, seeds, SECONDS)):
                found[seed].append(aligner.motion(motion))
                drawn[seed].append(motion)
        judged = [Judged(stacked(each), texts, described.keys) for each in found]
        rows += _judged_rows(name, judged, real)
        rows += _moving_rows(name, drawn, described.motions)
    return rows


def _moving_rows(name: str, seeds: Sequence[Sequence[Motion]], real: Sequence[Motion]) -> list[Row]:
    """Rows on the kinematics of one generator, over its seeds: feet, floor, ranges, jerk."""
    truth = [representation.from_motion(motion)[0][: round(SECONDS * FPS)] for motion in real]
    usual = float(np.mean([measures.jerk(representation.positions(x)) for x in truth]))
    found: dict[str, list[float]] = {}
    for motions in seeds:
        features = np.stack([representation.from_motion(motion)[0] for motion in motions])
        p = representation.positions(features)
        figures = {
            "slide_cm_s": measures.slide_cm_s(features, p),
            "jerk_ratio": measures.jerk(p) / usual,
            "contact_percent": measures.contact_percent(features),
            "hover_cm": measures.hover_cm(p),
            "mean_penetration_cm": measures.mean_penetration_cm(p),
            "floor_penetration_cm": measures.floor_penetration_cm(p),
            "limit_violations": float(measures.limit_violations(features)),
        }
        for metric, value in figures.items():
            found.setdefault(metric, []).append(value)
    return [
        seeds_row(name, "unseen_subjects", metric, values, measures.unit_of(metric))
        for metric, values in found.items()
    ]


def _judged_rows(name: str, seeds: Sequence[Judged], real: F64) -> list[Row]:
    """Rows of one generator, over its seeds."""
    case = "unseen_subjects"
    precise = [100 * r_precision(each, np.random.default_rng(0)).mean() for each in seeds]
    rows = [seeds_row(name, case, "r_precision_top3", precise, "%")]
    if name != "real":
        away = [frechet(each.motions, real) for each in seeds]
        rows.append(seeds_row(name, case, "frechet", away, ""))
    spread = [diversity(each.motions, np.random.default_rng(0)) for each in seeds]
    return [*rows, seeds_row(name, case, "diversity", spread, "")]


def seeds_row(name: str, case: str, metric: str, values: Sequence[float], unit: str) -> Row:
    """The mean of a figure over seeds; ``low`` and ``high`` are its minimum and maximum."""
    row = {"name": name, "case": case, "metric": metric, "value": float(np.mean(values))}
    row["unit"] = unit
    if len(values) > 1:
        row |= {"low": float(np.min(values)), "high": float(np.max(values))}
    return row


def report(rows: Sequence[Row], path: str | None) -> None:
    """Print rows, and write them to a file if a path is given."""
    for row in rows:
        span = f"  [{row['low']:.2f}, {row['high']:.2f}]" if "low" in row else ""
        print(
            f"{row['name']:18s} {row['case']:18s} {row['metric']:24s} "
            f"{row['value']:9.3f} {row['unit']}{span}",
            flush=True,
        )
    if path:
        write_json({"rows": list(rows)}, path)
