"""`pallas eval hpstm_gen`."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.corrections import correct, hand_error
from hpstm_ros.generation.expectation import MODEL, Expectation, nothing
from hpstm_ros.generation.flow import OVERLAP, Flow, FlowGenerator, Known
from hpstm_ros.generation.representation import FPS, FRAMES
from hpstm_ros.generation.request import HandTarget, Request
from hpstm_ros.generation.text import text_vectors
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.train import generator_measures as measures
from hpstm_ros.train.evaluate import Row
from hpstm_ros.train.retrieval import with_noise
from hpstm_ros.train.windows import MotionWindows, Window
from pallas_ros.body import rotations
from pallas_ros.body.kinematics import to_global, to_local
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.data.library import MotionLibrary
from pallas_ros.files.json_output import check_json, write_json
from pallas_ros.motion_files import add_options, overrides_from

HELP = "Evaluate the motion generator: guarantees, realism, forecasts, gap filling, hands, time."
PAST = 30
_CHI_SQUARE_90 = 6.2514
"""Squared radius of a 90 % ellipsoid, three degrees of freedom."""
_ARM = [JOINT_INDEX[f"right_{n}"] for n in ("shoulder", "elbow", "wrist")]
_GAP = slice(45, 75)
_LONG_S = 13.0
"""s: four windows."""
_LONG = (
    "walk forward",
    "wave with the right hand",
    "a person dances",
    "raise both hands",
    "walk in a circle",
    "stand still and look around",
)
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--data", default="../shared/data", help="folder of the motion packs, or of motion files"
    )
    add_options(parser)
    parser.add_argument("--model", default="models/hpstm_gen.onnx", help="the network")
    parser.add_argument("--expectation", default=MODEL, help="the network of forecasts and gaps")
    parser.add_argument("--count", type=int, default=64, help="windows per measurement")
    parser.add_argument("--name", default="hpstm_gen", help="name of the rows")
    parser.add_argument("--json", metavar="F", help="also write every figure there")


def run(args: argparse.Namespace) -> int:
    """Run the evaluation, and print or write the figures.

    Raises:
        PallasError: an input is missing or invalid.
    """
    check_json(args.json)
    library = MotionLibrary.open(args.data, overrides=overrides_from(args), alignment="bent")
    evaluation = GeneratorEvaluation(
        library, args.data, Flow(args.model), Expectation(args.expectation), args.count, args.name
    )
    for part in (
        evaluation.forecasts,
        evaluation.filling,
        evaluation.hands,
        evaluation.samples,
        evaluation.seams,
        evaluation.times,
    ):
        part()
        for row in evaluation.fresh():
            print(
                f"{row['name']:24s} {row['case']:22s} {row['metric']:26s} {row['value']:10.3f}"
                f" {row['unit']}",
                flush=True,
            )
    if args.json:
        write_json({"rows": evaluation.rows}, args.json)
    return 0


class GeneratorEvaluation:
    """Evaluates one model, and collects ``rows``."""

    def __init__(
        self,
        library: MotionLibrary,
        data: str | Path,
        flow: Flow,
        expectation: Expectation,
        count: int,
        name: str = "hpstm_gen",
    ) -> None:
        self._library = library
        self._descriptions = Descriptions.open(data)
        self._flow = flow
        self._expectation = expectation
        self._count = count
        self._name = name
        self._shown = 0
        self.rows: list[Row] = []

    def fresh(self) -> list[Row]:
        """Rows since the last call."""
        rows = self.rows[self._shown :]
        self._shown = len(self.rows)
        return rows

    def _row(self, case: str, metric: str, value: float, unit: str, name: str = "") -> None:
        row: dict[str, Any] = {"name": name or self._name, "case": case, "metric": metric}
        self.rows.append(Row(**row, value=float(value), unit=unit))

    def _windows(self, split: str, count: int, seed: int = 5) -> tuple[list[Window], F32]:
        windows = MotionWindows(self._library, self._library.require(split))
        whole = windows.cover(4.0)
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(whole))[: min(count, len(whole))]
        picked = [whole[i] for i in sorted(chosen)]
        return picked, windows.batch(picked).features

    def forecasts(self) -> None:
        """Forecasts of the next second, on people not used for training."""
        _, truth = self._windows("unseen_subjects", self._count)
        known = Known.nothing(len(truth))
        known.features[:] = truth
        known.seen[:, :PAST] = True
        mean, deviation = self._expectation.expect(known.features, known.seen)
        p_true = rep.positions(truth)
        p_mean = rep.positions(mean)
        drawn = []
        for index in range(5):
            sampled = self._flow.sample(known, _generators(len(truth), index), 10)
            drawn.append(joined_to_past(p_true, rep.positions(sampled)))
        best = np.stack(drawn)
        step = (p_true[:, PAST - 1] - p_true[:, PAST - 4]) / 3
        for seconds in (0.5, 1.0):
            frame = PAST - 1 + round(seconds * FPS)
            case = f"forecast={seconds:g}"
            still = _error_cm(p_true[:, PAST - 1], p_true[:, frame])
            moved = p_true[:, PAST - 1] + step * (frame - PAST + 1)
            moving = _error_cm(moved, p_true[:, frame])
            self._row(case, "mpjpe_cm", still.mean(), "cm", "zero_velocity")
            self._row(case, "mpjpe_cm", moving.mean(), "cm", "constant_velocity")
            own = _error_cm(p_mean[:, frame], p_true[:, frame]).mean()
            of_five = _error_cm(best[:, :, frame], p_true[:, frame]).min(0).mean()
            better = min(still.mean(), moving.mean())
            self._row(case, "mpjpe_cm", own, "cm")
            self._row(case, "best_of_5_cm", of_five, "cm")
            self._row(case, "mean_below_baseline", 100 * (1 - own / better), "%")
            self._row(case, "best_of_5_below_baseline", 100 * (1 - of_five / better), "%")
            away = (p_mean[:, frame] - p_true[:, frame]) / deviation[:, frame]
            inside = (away**2).sum(-1) < _CHI_SQUARE_90
            self._row(case, "coverage90", 100 * inside.mean(), "%")

    def filling(self) -> None:
        """Gaps of one second, of the whole body or of one arm."""
        _, truth = self._windows("unseen_subjects", self._count, seed=6)
        for case, joints in (("gap_body", list(range(len(JOINTS)))), ("gap_arm", _ARM)):
            seen = np.ones((len(truth), FRAMES, len(JOINTS)), dtype=bool)
            seen[:, _GAP, joints] = False
            filled, _ = self._expectation.expect(truth, seen)
            between = spherical(truth, _GAP, joints)
            p_true = rep.positions(truth)[:, _GAP][:, :, joints]
            errors = []
            for name, found in (("", filled), ("slerp", between)):
                p = rep.positions(found)[:, _GAP][:, :, joints]
                errors.append(_error_cm(p, p_true).mean())
                self._row(case, "mpjpe_cm", errors[-1], "cm", name)
            self._row(case, "relative_to_slerp", 100 * errors[0] / errors[1], "%")

    def hands(self) -> None:
        """Hand targets taken from other motion, with few and with many steps."""
        _, truth = self._windows("unseen_subjects", 12, seed=8)
        p = rep.positions(truth)
        generator = FlowGenerator(self._flow)
        for steps in (10, 32):
            errors = []
            hover = []
            for row, positions in enumerate(p):
                side = ("left", "right")[row % 2]
                point = positions[60, JOINT_INDEX[f"{side}_wrist"]]
                x, y, z = point.tolist()
                target = HandTarget(side, (x, y, z), 2.0)
                request = Request("reach", 4.0, row, hands=(target,), steps=steps, guidance=1.0)
                kept = correct(generator.generate(request, _silent)[0], (target,))
                errors.append(100 * hand_error(kept, target))
                hover.append(measures.hover_cm(rep.positions(kept)))
            case = f"steps={steps}"
            self._row(case, "hand_mean_cm", float(np.mean(errors)), "cm")
            self._row(case, "hand_max_cm", float(np.max(errors)), "cm")
            self._row(case, "hover_cm", float(np.mean(hover)), "cm")

    def samples(self) -> None:
        """Motion from text, compared with real motion not used for training."""
        _, train = self._windows("train", 6 * self._count, seed=1)
        encoder = measures.Encoder.fit(train)
        windows, real = self._windows("seen", 2 * self._count, seed=2)
        halves = [encoder(real[0::2]), encoder(real[1::2])]
        texts = [self._text(window) for window in windows[1::2]]
        jerk_real = measures.jerk(rep.positions(real))
        own = measures.frechet(*halves)
        spread = measures.diversity(halves[0])
        self._row("real", "frechet_halves", own, "")
        self._row("real", "jerk", jerk_real, "m/s3")
        self._feet("real", real, rep.positions(real))
        sets: dict[str, F32] = {}
        for case, steps in (("", 10), ("half_the_steps", 5), ("twice_the_steps", 20)):
            drawn = self._drawn(texts, steps)
            sets[case or self._name] = np.stack([correct(x) for x in drawn])
            if not case:
                sets["no_corrections"] = drawn
        if not self._flow.metadata.get("config", {}).get("manifold", True):
            self._free_bones(len(texts))
        nearest = self._retrieved(texts, train)
        sets["retrieval_with_noise"] = nearest
        for name, drawn in sets.items():
            p = rep.positions(drawn)
            codes = encoder(drawn)
            case = "text"
            self._row(case, "bone_variation_mm", measures.bone_variation_mm(p), "mm", name)
            self._row(case, "limit_violations", measures.limit_violations(drawn), "", name)
            self._feet(name, drawn, p)
            self._row(case, "jerk_ratio", measures.jerk(p) / jerk_real, "", name)
            distance = measures.frechet(codes, halves[0])
            self._row(case, "frechet", distance, "", name)
            self._row(case, "frechet_ratio", distance / own, "", name)
            self._row(case, "diversity_ratio", measures.diversity(codes) / spread, "", name)

    def _feet(self, name: str, features: F32, p: F64) -> None:
        """Rows on the feet and the floor."""
        for metric, value in {
            "floor_penetration_cm": measures.floor_penetration_cm(p),
            "mean_penetration_cm": measures.mean_penetration_cm(p),
            "hover_cm": measures.hover_cm(p),
            "slide_cm_s": measures.slide_cm_s(features, p),
            "contact_percent": measures.contact_percent(features),
        }.items():
            self._row("text", metric, value, measures.unit_of(metric), name)

    def _free_bones(self, count: int) -> None:
        """Variation of bone lengths in the ablation without forward kinematics."""
        generators = _generators(min(count, 16), 9)
        states = self._flow.states(Known.nothing(len(generators)), generators, 10)
        free = measures.bone_variation_mm(self._flow.positions(states).astype(np.float64))
        self._row("text", "bone_variation_mm", free, "mm", f"{self._name}_positions")

    def seams(self) -> None:
        """Jerk where two windows of longer motion overlap, relative to the rest of it."""
        generator = FlowGenerator(self._flow)
        at_seam = np.zeros(round(_LONG_S * FPS), dtype=bool)
        for start in range(FRAMES - OVERLAP, len(at_seam), FRAMES - OVERLAP):
            at_seam[start : start + OVERLAP] = True
        inside = []
        outside = []
        for seed, text in enumerate(_LONG):
            request = Request(text, _LONG_S, seed)
            p = rep.positions(correct(generator.generate(request, _silent)[0]))
            size = np.linalg.norm(np.diff(p, n=3, axis=0), axis=-1).mean(-1)
            inside.append(size[at_seam[:-3]].mean())
            outside.append(size[~at_seam[:-3]].mean())
        ratio = float(np.mean(inside) / np.mean(outside))
        self._row(f"seconds={_LONG_S:g}", "jerk_at_seams_ratio", ratio, "")

    def _text(self, window: Window) -> str:
        said = self._descriptions.of(window.clip)
        return said[0].text if said else ""

    def _drawn(self, texts: list[str], steps: int) -> F32:
        known = Known.nothing(len(texts))
        rows = [row for row, text in enumerate(texts) if text]
        known.text[rows] = text_vectors([texts[row] for row in rows])
        parts = []
        for first in range(0, len(texts), 8):
            part = slice(first, first + 8)
            some = Known.nothing(len(texts[part]))
            some.text[:] = known.text[part]
            generators = [np.random.default_rng([9, first + i]) for i in range(len(some.text))]
            parts.append(self._flow.sample(some, generators, steps, guidance=2.0))
        return np.concatenate(parts)

    def _retrieved(self, texts: list[str], train: F32) -> F32:
        """For each text, the training window with the most similar description, and noise."""
        windows, _ = self._windows("train", 6 * self._count, seed=1)
        said = [self._text(window) for window in windows]
        rows = [row for row, text in enumerate(said) if text]
        vectors = text_vectors([said[row] for row in rows])
        rng = np.random.default_rng(3)
        out = []
        for text in texts:
            row = int(rng.integers(len(train)))
            if text:
                row = rows[int(np.argmax(vectors @ text_vectors([text])[0]))]
            out.append(with_noise(train[row], rng))
        return np.array(out, np.float32)

    def times(self) -> None:
        """Wall-clock times on this machine, one thread, medians of five."""
        generator = FlowGenerator(self._flow)
        request = Request("wave with the right hand", 4.0, steps=10)
        past, seen = nothing(1)
        seen[:, :PAST] = True
        text_vectors(["warm up"])

        def whole() -> None:
            correct(generator.generate(request, _silent)[0])

        for metric, work in (
            ("generate_4s_ms", whole),
            ("forecast_ms", lambda: self._expectation.expect(past, seen)),
        ):
            self._row("onnxruntime", metric, _median_ms(work), "ms")


def _median_ms(work: Callable[[], object]) -> float:
    """CPU time of this process."""
    work()
    spent = []
    for _ in range(5):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return 1e3 * float(np.median(spent))


def _silent(stage: str, part: float) -> None:
    """Ignore the progress."""


def _generators(count: int, seed: int) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, row]) for row in range(count)]


def _error_cm(found: F64, truth: F64) -> F64:
    return np.asarray(100 * np.linalg.norm(found - truth, axis=-1).mean(-1))


def joined_to_past(p_true: F64, p_found: F64) -> F64:
    """Shift positions so that the last observed frame matches; the shift decays over 1 s.

    Args:
        p_true: (N, T, 22, 3) m.
        p_found: (N, T, 22, 3) m, as generated.
    """
    gone = (p_true - p_found)[:, PAST - 1 : PAST]
    fade = np.clip(1 - (np.arange(FRAMES) - PAST + 1) / FPS, 0, 1)[None, :, None, None]
    return np.asarray(p_found + fade * gone)


def spherical(truth: F32, gap: slice, joints: list[int]) -> F32:
    """Baseline for gaps: slerp of local orientations, and a straight root path.

    Args:
        truth: (N, T, size) features.
        gap: frames of the gap.
        joints: joints that are not observed in it.
    """
    q, root, contacts = rep.decode(truth)
    local = to_local(q)
    for frame in range(gap.start, gap.stop):
        part = (frame - gap.start + 1) / (gap.stop - gap.start + 1)
        between = rotations.slerp(local[:, gap.start - 1], local[:, gap.stop], part)
        local[:, frame, joints] = between[:, joints]
        if 0 in joints:
            root[:, frame] = (1 - part) * root[:, gap.start - 1] + part * root[:, gap.stop]
    return rep.encode(to_global(local), root, contacts, rep.Place())
