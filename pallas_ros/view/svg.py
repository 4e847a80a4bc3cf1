"""Plots as SVG text, for pages that open with no network and no script."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from pallas_ros.view.scene import GREY

F64 = NDArray[np.float64]
PALETTE = ("#2f6fb0", "#d9822b", "#3d9a50", "#b04a8b", "#7a6ff0", "#c0392b", "#16a0a0", "#8c6d46")
_WIDTH = 560
_HEIGHT = 200
_LEFT = 52
_BOTTOM = 28
_TOP = 14
_ACROSS = _WIDTH - _LEFT - 8


def lines(times: F64, values: F64, names: Sequence[str], unit: str) -> str:
    """Curves at the same times: ``times`` (n,) s, ``values`` (n, k), one name each."""
    values = values.reshape(len(times), -1)
    return curves([(name, times, values[:, k]) for k, name in enumerate(names)], unit)


def curves(
    named: Sequence[tuple[str, F64, F64]],
    unit: str,
    limits: tuple[float, float] | None = None,
    broad: int = 0,
) -> str:
    """Curves over time: name, times (n,) s and values (n,) of each; ``limits`` are drawn dashed.

    The first ``broad`` of them are drawn broad and pale, to be seen under those that lie on them.
    """
    finite = [
        (name, times[np.isfinite(values)], values[np.isfinite(values)])
        for name, times, values in named
    ]
    known = [(times, values) for _, times, values in finite if len(times)]
    if not known:
        return "<p>nothing to plot</p>"
    shown = [
        *(float(edge(values)) for _, values in known for edge in (np.min, np.max)),
        *(limits or ()),
    ]
    low, high = _range(min(shown), max(shown))
    begin = min(float(times[0]) for times, _ in known)
    end = max(float(times[-1]) for times, _ in known)

    def height(value: F64) -> F64:
        return np.asarray(_TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM))

    inside = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="#c0392b"'
        ' stroke-dasharray="5 3"/>'
        for y in height(np.array(limits or ())).tolist()
    ]
    for k, (_, times, values) in enumerate(finite):
        x = _LEFT + (times - begin) / max(end - begin, 1e-9) * _ACROSS
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, height(values)))
        pen = 'stroke-width="5" stroke-opacity=".35"' if k < broad else 'stroke-width="1.2"'
        inside.append(
            f'<polyline fill="none" stroke="{PALETTE[k % len(PALETTE)]}" {pen} points="{points}"/>'
        )
    return _frame("".join(inside), (begin, end), (low, high), "s", unit) + _legend(
        [name for name, _, _ in finite]
    )


def histogram(values: F64, counts: NDArray[np.int64], unit: str, colour: str = PALETTE[0]) -> str:
    """How often: ``values`` (n,), rising, each ``counts`` (n,) times; what lies above the 99.5th
    percentile is put in the last bar.
    """
    if not len(values):
        return "<p>nothing to plot</p>"
    ranks = np.cumsum(counts)
    low = float(values[0])
    high = float(values[np.searchsorted(ranks, 0.995 * ranks[-1])])
    high = high if high > low else low + 1.0
    bars, edges = np.histogram(np.minimum(values, high), bins=40, range=(low, high), weights=counts)
    width = _ACROSS / 40
    scale = (_HEIGHT - _TOP - _BOTTOM) / max(float(bars.max()), 1.0)
    rectangles = "".join(
        f'<rect x="{_LEFT + k * width:.1f}" y="{_HEIGHT - _BOTTOM - n * scale:.1f}"'
        f' width="{width - 1:.1f}" height="{n * scale:.1f}" fill="{colour}"/>'
        for k, n in enumerate(bars.tolist())
    )
    return _frame(
        rectangles, (float(edges[0]), float(edges[-1])), (0.0, float(bars.max())), unit, "messages"
    )


def bars(names: Sequence[str], values: Sequence[float], unit: str) -> str:
    """A bar for each name, lying, with its number."""
    top = max([abs(value) for value in values if np.isfinite(value)] or [0.0]) or 1.0
    step = 24
    rows = []
    for k, (name, value) in enumerate(zip(names, values)):
        width = abs(value) / top * (_WIDTH - 190) if np.isfinite(value) else 0.0
        rows.append(
            f'<text x="88" y="{k * step + 16}" text-anchor="end">{escape(name)}</text><rect x="96"'
            f' y="{k * step + 5}" width="{width:.1f}" height="14"'
            f' fill="{PALETTE[k % len(PALETTE)]}"/><text x="{102 + width:.1f}"'
            f' y="{k * step + 16}">{value:.3g} {escape(unit)}</text>'
        )
    return f'<svg viewBox="0 0 {_WIDTH} {len(names) * step + 6}" role="img">{"".join(rows)}</svg>'


def strip(changes: Sequence[tuple[float, str]], end: float, colours: dict[str, str]) -> str:
    """What state held when: (s, state) of each change, the last one up to ``end``; states without a
    colour are grey.
    """
    if not changes:
        return "<p>nothing to plot</p>"
    begin = changes[0][0]
    span = max(end - changes[0][0], 1e-9)
    until = [time for time, _ in changes[1:]] + [end]
    parts = "".join(
        f'<rect x="{_LEFT + (time - begin) / span * _ACROSS:.1f}" y="4"'
        f' width="{max((stop - time) / span * _ACROSS, 0.6):.1f}" height="22"'
        f' fill="{colours.get(state, GREY)}"><title>{escape(state)}, {time:.2f} to {stop:.2f}'
        " s</title></rect>"
        for (time, state), stop in zip(changes, until)
    )
    marks = "".join(
        f'<text x="{_LEFT + (value - begin) / span * _ACROSS:.1f}" y="38"'
        f' text-anchor="middle">{value:.6g}</text>'
        for value in ticks(begin, end)
    )
    there = dict.fromkeys(state for _, state in changes)
    legend = "".join(
        f'<span style="color:{colours.get(state, GREY)}">&#9632; {escape(state)}</span> '
        for state in there
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} 42" role="img">{parts}{marks}</svg><p'
        f' class="legend">{legend}</p>'
    )


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    words = "".join(
        f'<span style="color:{PALETTE[k % len(PALETTE)]}">&#9632; {escape(name)}</span> '
        for k, name in enumerate(names)
    )
    return f'<p class="legend">{words}</p>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between ``low`` and ``high``: 1, 2 or 5 times a power of ten apart."""
    rough = max(high - low, 1e-12) / about
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(
        power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    )
    return [
        k * step
        for k in range(int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9)) + 1)
    ]


def _range(low: float, high: float) -> tuple[float, float]:
    pad = (high - low) * 0.06 or max(abs(high) * 0.1, 0.5)
    return low - pad, high + pad


def _frame(
    inside: str, across: tuple[float, float], up: tuple[float, float], x_unit: str, y_unit: str
) -> str:
    marks = []
    for value in ticks(*up, 4):
        y = _TOP + (up[1] - value) / max(up[1] - up[0], 1e-12) * (_HEIGHT - _TOP - _BOTTOM)
        marks.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e6ea"/>'
        )
        marks.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.6g}</text>')
    for value in ticks(*across):
        x = _LEFT + (value - across[0]) / max(across[1] - across[0], 1e-12) * _ACROSS
        marks.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{value:.6g}</text>'
        )
    units = (
        f'<text x="{_WIDTH - 8}" y="{_HEIGHT - 1}" text-anchor="end">{escape(x_unit)}</text><text'
        f' x="2" y="9">{escape(y_unit)}</text>'
    )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(marks)}{inside}{units}</svg>'
