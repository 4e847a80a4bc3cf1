"""`pallas eval hpstm`: the released smoother, as it streams, and the tuned classical filters, on
the same noisy motions.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hpstm_ros.smoothing import tuned
from hpstm_ros.smoothing.bones import BoneLengths
from hpstm_ros.smoothing.smoother import Smoother, SmootherSettings, shared_method
from hpstm_ros.train import baselines, measures
from hpstm_ros.train.baselines import LOOKAHEADS, SETTLE_FRAMES
from hpstm_ros.train.failures import FAILURES, Failure, aftermath, spoil
from hpstm_ros.train.trials import Trial, trials
from pallas_ros.body import rotations
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINTS, MODEL_RATE_HZ
from pallas_ros.data.library import MotionLibrary
from pallas_ros.train.measures import ClipFigures, bootstrap

F64 = NDArray[np.float64]
Row = dict[str, Any]

J = len(JOINTS)


@dataclass(frozen=True)
class Smoothed:
    """A smoothed motion.

    Attributes:
        positions: (T, 22, 3) m; frame k is the estimate for frame k of the motion.
        rotations: (T, 22, 4) xyzw.
        covariance: (T, 22, 3, 3) m^2.
    """

    positions: F64
    rotations: F64
    covariance: F64


def bodies(points: F64) -> Iterable[BodyFrame]:
    """Convert points (T, 22, 3) m, NaN if missing, to bodies at 60 Hz."""
    for index, frame in enumerate(points):
        stamp = round(index * 1e9 / MODEL_RATE_HZ)
        seen = np.asarray(np.isfinite(frame).all(axis=-1))
        yield BodyFrame(
            stamp,
            np.tile(rotations.IDENTITY, (J, 1)),
            frame,
            None,
            seen,
            np.ones(J),
            np.zeros(2),
            stamp,
        )


def stream(smoother: Smoother, points: F64) -> Smoothed:
    """Smooth points (T, 22, 3) m frame by frame; frames without output (after a restart) repeat the
    previous one, the first and last ones are NaN.
    """
    last = 0
    out = Smoothed(
        np.full(points.shape, np.nan),
        np.full((len(points), J, 4), np.nan),
        np.full((len(points), J, 3, 3), np.nan),
    )
    for body in bodies(points):
        for smooth in smoother.push(body):
            index = round(smooth.stamp * MODEL_RATE_HZ / 1e9)
            out.positions[index] = smooth.positions
            out.rotations[index] = smooth.rotations
            if smooth.covariance is not None:
                out.covariance[index] = smooth.covariance
            for array in (out.positions, out.rotations, out.covariance):
                array[last + 1 : index] = array[last]
            last = index
    return out


class Evaluation:
    """Collects rows, one per figure (docs/guide/conventions.md), with 95 % intervals from a
    bootstrap over trials.

    Args:
        library: of motions.
        settings: of the smoother; look-ahead and bones are set here.
        count: trials per split.
        name: of the rows of the smoother.
        calibrated: whether its covariance is calibrated, so that coverage is measured.
        longest: maximum number of frames of a trial.
    """

    def __init__(
        self,
        library: MotionLibrary,
        settings: SmootherSettings,
        count: int,
        name: str = "hpstm",
        *,
        calibrated: bool = True,
        longest: int = 480,
    ) -> None:
        self._library = library
        self._settings = settings
        self._count = count
        self._name = name
        self._calibrated = calibrated
        self._longest = longest
        self._tuned = tuned.load()
        self._make = shared_method(settings)
        self._bones: dict[str, BoneLengths | None] = {}
        self.rows: list[Row] = []

    def baselines(self, split: str) -> None:
        """Evaluate the tuned classical filters at every look-ahead on one split, with the noise
        model of docs/guide/conventions.md.
        """
        clips = trials(self._library, split, self._count, self._longest)
        for lookahead in LOOKAHEADS:
            for name, settings in tqdm(
                self._tuned.items(), desc=f"filters {split},lookahead={lookahead}"
            ):
                estimates = baselines.smooth(
                    baselines.make(name, lookahead, settings[lookahead]), clips, lookahead
                )
                self._accuracy(name, f"{split},lookahead={lookahead}", estimates, clips)

    def split(self, split: str) -> None:
        """Evaluate the smoother at every look-ahead on one split, with the noise model of
        docs/guide/conventions.md.
        """
        clips = trials(self._library, split, self._count, self._longest)
        for lookahead in LOOKAHEADS:
            case = f"{split},lookahead={lookahead}"
            smoothed = [
                self._smooth(trial, trial.noisy, lookahead)
                for trial in tqdm(clips, desc=f"{self._name} {case}")
            ]
            kept = [s.positions[: len(t) - lookahead] for s, t in zip(smoothed, clips, strict=True)]
            self._accuracy(self._name, case, kept, clips)
            if self._calibrated:
                self._uncertainty(case, smoothed, clips, lookahead)
            self._add(self._name, case, "added_delay_ms", 1e3 * lookahead / MODEL_RATE_HZ, "ms")

    def unknown_person(self, split: str) -> None:
        """Evaluate the first three seconds, while bone lengths are being estimated, and the
        error of the estimated lengths.
        """
        clips = trials(self._library, split, self._count, self._longest)
        for lookahead in (0, 10):
            errors = []
            for trial in tqdm(clips, desc=f"hpstm {split}, bones unknown"):
                smoothed = stream(
                    Smoother(replace(self._settings, lookahead=lookahead), self._make),
                    trial.noisy[:180],
                )
                error = np.linalg.norm(smoothed.positions - trial.truth[:180], axis=-1)[
                    SETTLE_FRAMES:
                ]
                errors.append(1e3 * error[np.isfinite(error).all(-1)])
            case = f"{split},lookahead={lookahead}"
            self._add_mean("hpstm", case, "mpjpe_bones_unknown_mm", errors, "mm")
        known = [(self._bones_of(trial), trial.bones) for trial in clips]
        off = [1e3 * np.abs(bones.lengths - true)[1:] for bones, true in known if bones is not None]
        self._add_mean("hpstm", split, "bone_length_error_mm", off, "mm")

    def failures(self, split: str, count: int) -> None:
        """Evaluate each failure separately: worst error and recovery time."""
        clips = trials(self._library, split, count, self._longest)
        for lookahead in (0, 5):
            for method in ("kalman", "median+kalman", "median+savitzky_golay", self._name):
                estimate = self._estimator(method, lookahead)
                usual = baselines.error_mm(estimate([t.noisy for t in clips], clips), clips) / 1e3
                for name, failure in tqdm(
                    FAILURES.items(), desc=f"failures, {method}, look-ahead {lookahead}"
                ):
                    estimates = estimate([spoil(t, failure)[0] for t in clips], clips)
                    self._aftermath(
                        method,
                        f"{split},lookahead={lookahead},{name}",
                        estimates,
                        usual,
                        clips,
                        failure,
                    )

    def _estimator(
        self, method: str, lookahead: int
    ) -> Callable[[list[F64], list[Trial]], list[F64]]:
        """A function that returns the positions (T - lookahead, 22, 3) m of a method for trials."""
        if method == self._name:
            return lambda points, clips: [
                self._smooth(t, p, lookahead).positions[: len(t) - lookahead]
                for t, p in zip(clips, points, strict=True)
            ]
        return lambda points, clips: baselines.smooth(
            baselines.make(method, lookahead, self._tuned[method][lookahead]),
            [replace(t, noisy=p) for t, p in zip(clips, points, strict=True)],
            lookahead,
        )

    def flicker(self, split: str, count: int) -> None:
        """Measure the change of the estimate of a frame when the next frame arrives."""
        clips = trials(self._library, split, count, self._longest)
        for lookahead in (0, 2, 5):
            apart = []
            for trial in tqdm(clips, desc=f"hpstm {split}, flicker"):
                now, later = (
                    self._smooth(trial, trial.noisy, n).positions[
                        SETTLE_FRAMES : len(trial) - n - 1
                    ]
                    for n in (lookahead, lookahead + 1)
                )
                apart.append(1e3 * np.linalg.norm(now[: len(later)] - later[: len(now)], axis=-1))
            case = f"{split},lookahead={lookahead}"
            self._add_mean("hpstm", case, "flicker_mm", apart, "mm")

    def _smooth(self, trial: Trial, points: F64, lookahead: int) -> Smoothed:
        """Smooth a trial with known bone lengths."""
        smoother = Smoother(
            replace(self._settings, lookahead=lookahead, bones=self._bones_of(trial)), self._make
        )
        return stream(smoother, points)

    def _bones_of(self, trial: Trial) -> BoneLengths | None:
        """Bone lengths that the smoother estimates in the three seconds before a trial."""
        if trial.name not in self._bones:
            smoother = Smoother(
                replace(
                    self._settings,
                    lookahead=0,
                    estimate_bones_s=min(3.0, len(trial.before) / MODEL_RATE_HZ - 0.05),
                ),
                self._make,
            )
            stream(smoother, trial.before)
            self._bones[trial.name] = smoother.bones
        return self._bones[trial.name]

    def _accuracy(self, name: str, case: str, estimates: list[F64], clips: list[Trial]) -> None:
        """Add means over trials, weighted by the number of frames."""
        figures = [
            measures.accuracy(e[SETTLE_FRAMES:], t.truth[SETTLE_FRAMES : len(e)])
            for e, t in zip(estimates, clips, strict=True)
        ]
        weights = [len(e) for e in estimates]
        for metric in figures[0]:
            sums = [(f[metric][0] * n, float(n)) for f, n in zip(figures, weights, strict=True)]
            self._add_sums(name, case, metric, sums, figures[0][metric][1])

    def _uncertainty(
        self, case: str, smoothed: list[Smoothed], clips: list[Trial], lookahead: int
    ) -> None:
        distances = []
        for s, t in zip(smoothed, clips, strict=True):
            keep = slice(SETTLE_FRAMES, len(t) - lookahead)
            distances.append(
                measures.squared_distances(
                    s.positions[keep], t.truth[keep], s.covariance[keep]
                ).ravel()
            )
        shares = [measures.coverage(d) for d in distances]
        for metric, (_, unit) in shares[0].items():
            sums = [
                (share[metric][0] * d.size, float(d.size))
                for share, d in zip(shares, distances, strict=True)
            ]
            self._add_sums(self._name, case, metric, sums, unit)

    def _aftermath(
        self,
        name: str,
        case: str,
        estimates: list[F64],
        usual_m: float,
        clips: list[Trial],
        failure: Failure,
    ) -> None:
        """Add the worst error and the recovery time; nothing if every trial is too short for it."""
        figures = []
        for estimate, trial in zip(estimates, clips, strict=True):
            starts = [
                s for s in spoil(trial, failure)[1] if s + failure.frames + 30 <= len(estimate)
            ]
            if starts:
                figures.append(
                    aftermath(estimate, trial.truth[: len(estimate)], usual_m, failure, starts)
                )
        if not figures:
            return
        worst = [(float(one[0]), 1.0) for one in figures]
        recovery = [(1e3 * float(one[1]) / MODEL_RATE_HZ, 1.0) for one in figures]
        self._add_sums(name, case, "worst_error_mm", worst, "mm")
        self._add_sums(name, case, "recovery_ms", recovery, "ms")

    def _add_mean(self, name: str, case: str, metric: str, values: list[F64], unit: str) -> None:
        """Add the mean of arrays, one per trial; nothing if there are none."""
        sums = [(float(v.sum()), float(v.size)) for v in values]
        if sums:
            self._add_sums(name, case, metric, sums, unit)

    def _add_sums(
        self, name: str, case: str, metric: str, sums: list[tuple[float, float]], unit: str
    ) -> None:
        """Add a mean over trials, given as (sum, weight), with its interval, if any."""
        clips = [ClipFigures({metric: pair}) for pair in sums]
        value, low, high = bootstrap(clips, metric)
        self._add(name, case, metric, value, unit)
        if low is not None and high is not None:
            self.rows[-1] |= {"low": round(low, 4), "high": round(high, 4)}

    def _add(self, name: str, case: str, metric: str, value: float, unit: str) -> None:
        self.rows.append(
            {"name": name, "case": case, "metric": metric, "value": round(value, 4), "unit": unit}
        )
