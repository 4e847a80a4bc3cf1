"""Plots as SVG text, for pages that open with no network and no script."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
PALETTE = ("#2f6fb0", "#d9822b", "#3d9a50", "#b04a8b", "#7a6ff0", "#c0392b", "#16a0a0", "#8c6d46")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 560, 200, 52, 28, 12


def lines(times: F64, values: F64, names: Sequence[str], unit: str) -> str:
    """Curves over time: ``times`` (n,) s, ``values`` (n, k), one name each."""
    values = values.reshape(len(times), -1)
    finite = np.isfinite(values)
    if not len(times) or not finite.any():
        return "<p>nothing to plot</p>"
    low, high = _range(float(values[finite].min()), float(values[finite].max()))
    x = _LEFT + (times - times[0]) / max(times[-1] - times[0], 1e-9) * (_WIDTH - _LEFT - 8)
    y = _TOP + (high - values) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
    curves = []
    for k in range(values.shape[1]):
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[finite[:, k]], y[finite[:, k], k]))
        curves.append(f'<polyline fill="none" stroke="{PALETTE[k % len(PALETTE)]}" stroke-width="1.2" points="{points}"/>')
    legend = "".join(f'<span style="color:{PALETTE[k % len(PALETTE)]}">&#9632; {escape(name)}</span> ' for k, name in enumerate(names))
    return _frame("".join(curves), (float(times[0]), float(times[-1])), (low, high), "s", unit) + f'<p class="legend">{legend}</p>'


def histogram(values: F64, unit: str, colour: str = PALETTE[0]) -> str:
    """How often: ``values`` (n,); what lies above the 99.5th percentile is put in the last bar."""
    values = values[np.isfinite(values)]
    if not len(values):
        return "<p>nothing to plot</p>"
    low, high = float(values.min()), float(np.percentile(values, 99.5))
    high = high if high > low else low + 1.0
    counts, edges = np.histogram(np.minimum(values, high), bins=40, range=(low, high))
    width = (_WIDTH - _LEFT - 8) / 40
    scale = (_HEIGHT - _TOP - _BOTTOM) / max(int(counts.max()), 1)
    bars = "".join(
        f'<rect x="{_LEFT + k * width:.1f}" y="{_HEIGHT - _BOTTOM - n * scale:.1f}" width="{width - 1:.1f}" height="{n * scale:.1f}" fill="{colour}"/>'
        for k, n in enumerate(counts.tolist())
    )
    return _frame(bars, (float(edges[0]), float(edges[-1])), (0.0, float(counts.max())), unit, "messages")


def _range(low: float, high: float) -> tuple[float, float]:
    pad = (high - low) * 0.06 or max(abs(high) * 0.1, 0.5)
    return low - pad, high + pad


def _frame(inside: str, across: tuple[float, float], up: tuple[float, float], x_unit: str, y_unit: str) -> str:
    marks = []
    for k in range(5):
        x, y = _LEFT + k / 4 * (_WIDTH - _LEFT - 8), _TOP + k / 4 * (_HEIGHT - _TOP - _BOTTOM)
        marks.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e6ea"/>')
        marks.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{up[1] + (up[0] - up[1]) * k / 4:.4g}</text>')
        marks.append(f'<text x="{x:.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{across[0] + (across[1] - across[0]) * k / 4:.4g}</text>')
    units = f'<text x="{_WIDTH - 8}" y="{_HEIGHT - 1}" text-anchor="end">{escape(x_unit)}</text><text x="2" y="9">{escape(y_unit)}</text>'
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(marks)}{inside}{units}</svg>'
