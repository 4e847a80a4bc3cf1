"""The commands of a whole motion, and their quality figures."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.retarget.demand import IN_REACH, OUT_OF_REACH, TOO_FAST

F64 = NDArray[np.float64]


@dataclass
class JointMotion:
    """Commands of the arm, at the supervisor's rate (N samples).

    Attributes:
        joint_names: (n,).
        t: (N,) s from the motion's start.
        q, dq, ddq: (N, n).
        hand_error: (N, A) m, from each commanded tip to its target at that time; NaN before the
            first body and after the last.
        demand: (N, A) of `hpstm_ros.retarget.demand`: whether each target was within reach, and
            could be followed in time.
        elbow_error: (N,) rad, NaN without an elbow frame.
        ik_error: (N,) m, position error of the inverse kinematics alone.
        tracking: (N,) bool, whether the supervisor was tracking.
        limited: (N,) active limit of each sample, or empty.
        step_s: (M,) s, duration of the retargeting step of each body.
        violations: limit violations found by the independent checker.
    """

    joint_names: tuple[str, ...]
    t: F64
    q: F64
    dq: F64
    ddq: F64
    hand_error: F64
    elbow_error: F64
    ik_error: F64
    demand: NDArray[np.int8]
    tracking: NDArray[np.bool_]
    limited: list[str]
    step_s: F64
    violations: list[str] = field(default_factory=list)

    @property
    def tip_error(self) -> F64:
        """(N,) m, the larger error of the hands."""
        return np.asarray(self.hand_error.max(axis=1))

    def arrays(self) -> dict[str, Any]:
        """The joint file (docs/guide/conventions.md)."""
        return {
            "t": self.t,
            "joint_names": np.array(self.joint_names),
            "q": self.q,
            "dq": self.dq,
            "ddq": self.ddq,
            "tracking_error": self.tip_error,
            "limited": np.array(self.limited or [""]),
        }

    def figures(self) -> dict[str, float]:
        """Quality metrics: hand errors while tracking, smoothness, fraction of limited samples."""
        on = self.tracking & np.isfinite(self.tip_error)
        error, demand = (
            (self.hand_error[on], self.demand[on])
            if on.any()
            else (np.full((1, 1), np.nan), np.full((1, 1), -1))
        )

        def share(kind: int) -> tuple[float, float]:
            chosen = demand == kind
            return float(chosen.mean()), (
                float(error[chosen].mean() * 1e3) if chosen.any() else float("nan")
            )

        jerk = (
            np.diff(self.ddq, axis=0) * (1.0 / np.diff(self.t))[:, None]
            if len(self.t) > 1
            else np.zeros((1, 1))
        )
        held = np.array([bool(text) for text in self.limited], dtype=bool)
        elbow = self.elbow_error[on & np.isfinite(self.elbow_error)]
        in_reach, too_fast, out_of_reach = (
            share(kind) for kind in (IN_REACH, TOO_FAST, OUT_OF_REACH)
        )
        return {
            "in_reach_share": in_reach[0],
            "in_reach_mean_mm": in_reach[1],
            "too_fast_share": too_fast[0],
            "too_fast_mean_mm": too_fast[1],
            "out_of_reach_share": out_of_reach[0],
            "out_of_reach_mean_mm": out_of_reach[1],
            "hand_error_mean_mm": float(error.mean() * 1e3),
            "hand_error_p95_mm": float(np.percentile(error, 95) * 1e3),
            "ik_error_mean_mm": float(self.ik_error[on].mean() * 1e3) if on.any() else float("nan"),
            "elbow_error_mean_deg": float(np.degrees(elbow.mean())) if len(elbow) else float("nan"),
            "jerk_rms": float(np.sqrt(np.mean(jerk**2))),
            "tracking_share": float(self.tracking.mean()),
            "held_back_share": float(held.mean()),
            "step_p50_ms": float(np.percentile(self.step_s, 50) * 1e3),
            "step_p99_ms": float(np.percentile(self.step_s, 99) * 1e3),
            "limit_violations": float(len(self.violations)),
        }


def summary(figures: dict[str, float]) -> str:
    """Describe in lines of text how closely the tip followed, and the reasons for errors.

    Args:
        figures: see `JointMotion.figures`.
    """
    reached, fast, far = (
        100 * figures[f"{kind}_share"] for kind in ("in_reach", "too_fast", "out_of_reach")
    )
    mean = figures["hand_error_mean_mm"]
    most = figures["hand_error_p95_mm"]
    lines = [f"tip error {mean:.1f} mm on average, below {most:.1f} mm for 95 % of the time"]
    if reached > 0:
        lines.append(
            f"  {figures['in_reach_mean_mm']:.1f} mm while the arm can reach the target in time"
            f" ({reached:.0f} % of the time)"
        )
    if fast > 0:
        lines.append(
            f"  {figures['too_fast_mean_mm']:.1f} mm while the target is too fast for the arm"
            f" ({fast:.0f} %); --tip-speed allows more"
        )
    if far > 0:
        lines.append(
            f"  {figures['out_of_reach_mean_mm']:.1f} mm while the target is out of reach"
            f" ({far:.0f} %); a smaller --scale brings it nearer"
        )
    lines.append(
        f"a limit of speed, acceleration or distance was active for"
        f" {100 * figures['held_back_share']:.0f} % of the commands; a retargeting step takes"
        f" {figures['step_p99_ms']:.2f} ms (99th percentile)"
    )
    return "\n".join(lines)
