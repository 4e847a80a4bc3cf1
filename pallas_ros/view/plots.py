"""Strip charts of the viewer: the last seconds before the current instant, filled from the
recording, if there is one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import viser
from numpy.typing import NDArray
from viser import uplot

from pallas_ros.view.moments import Moment

F64 = NDArray[np.float64]
SPAN_S = 12.0
STEP_S = 0.05
KEPT = 4 * round(SPAN_S / STEP_S)
HEIGHT = 104
COLOURS = ("#2f6fb0", "#d9822b", "#3d9a50", "#b04a8b", "#7a6ff0", "#16a0a0", "#8c6d46", "#5b6470")
LIMIT = "#c0392b"
CHOSEN = 1e9  # order of the chart under the choice of a joint
RANGES = {"confidence": (0.0, 1.0), "speed scale": (0.0, 1.05)}
"""Charts with a fixed vertical range."""
LIMITS = ("lower limit", "upper limit")


class Plots:
    """One chart per quantity, one of all joints relative to their ranges, and one of the selected
    joint.
    """

    def __init__(self, gui: viser.GuiApi) -> None:
        """Create empty charts in a folder that becomes visible once there is something to plot."""
        self._gui = gui
        self._points: dict[int, Moment] = {}
        self._charts: dict[str, tuple[str, tuple[str, ...], Any]] = {}
        self._drawn: tuple[float, str] = (-1.0, "")
        self._folder = gui.add_folder("Plots: the last 12 s", visible=False)
        with self._folder:
            self._joint: Any = gui.add_dropdown("joint", ("none",), visible=False, order=CHOSEN - 1)
        self.limits: dict[str, tuple[float, float]] = {}

    def offer(self, limits: dict[str, tuple[float, float]]) -> None:
        """Set the joints of the arm, with their lower and upper limits in rad."""
        self.limits = limits
        self._joint.options = tuple(limits) or ("none",)
        self._joint.visible = bool(limits)

    def add(self, moment: Moment) -> None:
        """Store an instant."""
        if len(self._points) > KEPT:
            now = _step(moment.time)
            self._points = {
                step: kept for step, kept in self._points.items() if abs(step - now) < KEPT // 3
            }
        self._points[_step(moment.time)] = moment

    def draw(self, now: float, past: Callable[[float], Moment] | None = None) -> None:
        """Draw the last `SPAN_S` before ``now`` s; instants not stored are requested from ``past``.

        Does nothing if they are already drawn.
        """
        if self._drawn == (now, self._joint.value):
            return
        self._drawn = now, self._joint.value
        last = _step(now)
        count = round(SPAN_S / STEP_S)
        steps = [step for step in range(last - count, last + 1) if step >= 0 or past is None]
        if past is not None:
            for step in steps:
                if step not in self._points:
                    self._points[step] = past(step * STEP_S)
        seen = [(step * STEP_S - now, self._points[step]) for step in steps if step in self._points]
        if len(seen) < 2:
            return
        for chart in self._wanted(seen):
            self._show(chart)

    def _wanted(self, seen: Sequence[tuple[float, Moment]]) -> Iterator["_Chart"]:
        """The charts for the instants ``seen``, at times in s before now."""
        for name in dict.fromkeys(name for _, moment in reversed(seen) for name in moment.plots):
            yield _Chart(
                name,
                (name,),
                _rows((time, moment.plots.get(name, np.nan)) for time, moment in seen),
                RANGES.get(name),
            )
        if self.limits:
            shares = _rows(
                (time, *(_share(moment, *joint) for joint in self.limits.items()), 0.0, 1.0)
                for time, moment in seen
            )
            yield _Chart(
                "joint commands, fraction of their range",
                (*self.limits, *LIMITS),
                shares,
                (-0.05, 1.05),
            )
        if self._joint.value in self.limits:
            name = self._joint.value
            low, high = self.limits[self._joint.value]
            angles = _rows(
                (
                    time,
                    moment.joints.get(name, np.nan),
                    moment.commanded.get(name, np.nan),
                    low,
                    high,
                )
                for time, moment in seen
            )
            margin = 0.05 * (high - low)
            yield _Chart(
                f"{name}, rad",
                ("measured", "commanded", *LIMITS),
                angles,
                (low - margin, high + margin),
                CHOSEN,
            )

    def _show(self, chart: "_Chart") -> None:
        """Create a chart, or update its data; curves without any value are omitted."""
        known = [k for k in range(len(chart.names)) if np.isfinite(chart.rows[:, k + 1]).any()]
        names = tuple(chart.names[k] for k in known)
        if not set(names) - set(LIMITS):
            return
        rows = chart.rows[:, [0, *(k + 1 for k in known)]]
        if chart.range is None:  # automatic ranges do not support NaN
            rows = rows[np.isfinite(rows).all(axis=1)]
        data = tuple(np.ascontiguousarray(column) for column in rows.T)
        place = chart.title if chart.order is None else str(chart.order)
        title, shown, handle = self._charts.get(place, ("", (), None))
        if (title, shown) == (chart.title, names):
            handle.data = data
            return
        if handle is not None:
            handle.remove()
        legend = len(names) > 1 and not self.limits.keys() & set(names)
        with self._folder:
            handle = self._gui.add_uplot(
                data,
                (uplot.Series(label="s"), *(_series(name, k) for k, name in zip(known, names))),
                title=chart.title,
                height=HEIGHT + (14 if legend else 0),
                order=len(self._charts) if chart.order is None else chart.order,
                legend={"show": legend, "live": False},
                scales={
                    "x": uplot.Scale(time=False, range=(-SPAN_S, 0.0)),
                    "y": (
                        uplot.Scale(auto=True)
                        if chart.range is None
                        else uplot.Scale(range=chart.range)
                    ),
                },
                axes=(
                    uplot.Axis(size=24, space=60, ticks={"show": False}),
                    uplot.Axis(size=44, space=24, ticks={"show": False}),
                ),
                padding=(4, 14, 0, 0),
            )
        self._charts[place] = chart.title, names, handle
        self._folder.visible = True


@dataclass(frozen=True, eq=False)
class _Chart:
    """``rows`` (n, 1 + k): time in s before now, and a value for each of the ``names``; ``range``
    is the vertical range, None for that of the data.
    """

    title: str
    names: tuple[str, ...]
    rows: F64
    range: tuple[float, float] | None = None
    order: float | None = None


def _rows(rows: Iterable[tuple[float, ...]]) -> F64:
    return np.array(list(rows), dtype=float)


def _series(name: str, number: int) -> uplot.Series:
    if name in LIMITS:
        return uplot.Series(
            label=name, stroke=LIMIT, width=1, dash=(5.0, 4.0), points={"show": False}
        )
    return uplot.Series(
        label=name,
        stroke=COLOURS[number % len(COLOURS)],
        width=1.5,
        points={"show": False},
        spanGaps=False,
    )


def _step(time: float) -> int:
    return round(time / STEP_S)


def _share(moment: Moment, name: str, bounds: tuple[float, float]) -> float:
    """Commanded position of a joint relative to its range, 0 at the lower and 1 at the upper limit;
    the measured position if there is no command.
    """
    angle = moment.commanded.get(name, moment.joints.get(name, np.nan))
    return (angle - bounds[0]) / max(bounds[1] - bounds[0], 1e-9)
