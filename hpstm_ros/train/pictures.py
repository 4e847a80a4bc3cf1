"""Pictures of the smoother: paths of a wrist and an ankle, raw, filtered, smoothed and true,
with the 90 % band.

``python -m hpstm_ros.train.pictures --out docs/images``
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hpstm_ros.smoothing import tuned
from hpstm_ros.smoothing.smoother import Smoother, SmootherSettings
from hpstm_ros.train import baselines
from hpstm_ros.train.evaluate import Smoothed, stream
from hpstm_ros.train.trials import Trial, trials
from pallas_ros.body.names import JOINT_INDEX, MODEL_RATE_HZ
from pallas_ros.data.library import MotionLibrary

matplotlib.use("Agg")
from matplotlib import pyplot as plt

F64 = NDArray[np.float64]
_Z90 = 1.645
_SHOWN = slice(120, 200)
_GONE = slice(150, 165)


def main() -> None:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    clips = [
        t for t in trials(MotionLibrary.open(args.data), "unseen", 16) if len(t) > _SHOWN.stop + 20
    ]
    liveliest = max(
        clips,
        key=lambda t: float(np.ptp(t.truth[_SHOWN, [JOINT_INDEX["right_wrist"]]], axis=0).max()),
    )
    draw(
        liveliest,
        liveliest.noisy,
        args.out / "smoothing_paths.png",
        f"'{liveliest.name}' (unseen), noise model of docs/guide/conventions.md",
    )
    hidden = liveliest.noisy.copy()
    hidden[_GONE, JOINT_INDEX["right_elbow"]] = np.nan
    hidden[_GONE, JOINT_INDEX["right_wrist"]] = np.nan
    draw(
        liveliest,
        hidden,
        args.out / "smoothing_occlusion.png",
        "the same, with right elbow and wrist missing in the grey quarter of a second",
        _GONE,
    )


def draw(trial: Trial, points: F64, path: Path, title: str, gone: slice | None = None) -> None:
    """One picture: right wrist and left ankle, causal and with five frames of look-ahead."""
    figure, axes = plt.subplots(2, 2, figsize=(12, 7), sharex=True, layout="constrained")
    seconds = np.arange(len(trial)) / MODEL_RATE_HZ
    for column, lookahead in enumerate((0, 5)):
        smoothed = stream(
            Smoother(SmootherSettings(lookahead=lookahead, backend="onnxruntime")), points
        )
        filtered = _filtered(trial, points, lookahead)
        for row, joint in enumerate(("right_wrist", "left_ankle")):
            _path(axes[row][column], seconds, trial, points, filtered, smoothed, JOINT_INDEX[joint])
            axes[row][column].set_title(f"{joint}, look-ahead {lookahead}")
            if gone is not None:
                axes[row][column].axvspan(
                    seconds[gone.start], seconds[gone.stop], color="0.93", zorder=0
                )
    axes[0][0].legend(fontsize=8)
    axes[1][0].set_xlabel("s")
    figure.suptitle(title)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _filtered(trial: Trial, points: F64, lookahead: int) -> F64:
    own = tuned.load()["kalman"][lookahead]
    filter_ = baselines.make("kalman", lookahead, own)
    out = [y for frame in points if (y := filter_.push(frame)) is not None]
    return np.concatenate((np.stack(out), np.full((lookahead, *trial.truth.shape[1:]), np.nan)))


def _path(
    axis: "Axes",
    seconds: F64,
    trial: Trial,
    points: F64,
    filtered: F64,
    smoothed: Smoothed,
    joint: int,
) -> None:
    """Plot, in cm, the coordinate with the least motion of at least 8 cm, in which the noise is
    visible.
    """
    travel = np.ptp(trial.truth[_SHOWN, joint], axis=0)
    coordinate = (
        int(np.argmin(np.where(travel > 0.08, travel, np.inf)))
        if (travel > 0.08).any()
        else int(np.argmax(travel))
    )
    at = seconds[_SHOWN]
    mean = 100 * smoothed.positions[_SHOWN, joint, coordinate]
    half = 100 * _Z90 * np.sqrt(smoothed.covariance[_SHOWN, joint, coordinate, coordinate])
    axis.plot(
        at, 100 * points[_SHOWN, joint, coordinate], ".", color="0.65", markersize=3, label="raw"
    )
    axis.plot(
        at,
        100 * filtered[_SHOWN, joint, coordinate],
        color="tab:orange",
        linewidth=1,
        label="Kalman, tuned",
    )
    axis.fill_between(
        at, mean - half, mean + half, color="tab:blue", alpha=0.2, label="HPSTM, 90 % band"
    )
    axis.plot(at, mean, color="tab:blue", linewidth=1.2, label="HPSTM")
    axis.plot(at, 100 * trial.truth[_SHOWN, joint, coordinate], "k--", linewidth=0.9, label="truth")
    axis.set_ylabel(f"{'xyz'[coordinate]}, cm")


if __name__ == "__main__":
    main()
