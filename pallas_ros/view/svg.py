"""Plots as SVG inside a page, for pages that open with no network and no script; drawn by
matplotlib.

Names come from recordings and may be anything: legends are HTML, names in pictures are plain text.
The elements of a picture have no ids, which could collide between the pictures of a page. Equal
data give equal bytes.
"""

import re
from collections.abc import Callable, Sequence
from functools import wraps
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any, ParamSpec, cast
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from pallas_ros.view.scene import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

F64 = NDArray[np.float64]
P = ParamSpec("P")
PALETTE = ("#2f6fb0", "#d9822b", "#3d9a50", "#b04a8b", "#7a6ff0", "#c0392b", "#16a0a0", "#8c6d46")
NOTHING = "<p>nothing to plot</p>"
_LIMIT = "#c0392b"
_TEXT = "#59616c"
_GRID = "#e3e6ea"
_WIDTH = 560
_HEIGHT = 200
_LEFT = 52
_RIGHT = 8
_BOTTOM = 28
_TOP = 14
_LARGEST = 1e30
"""Larger values are drawn at this value, so that sums of two axis limits are finite."""
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pallas",
    "text.parse_math": False,
    "font.size": 10,
    "axes.linewidth": 0,
    "axes.unicode_minus": False,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_FONT = re.compile(r"font-family:[^;]*(; )?")
_SVG = "{http://www.w3.org/2000/svg}"


def _styled(draw: Callable[P, str]) -> Callable[P, str]:
    """Draw with the style of pages, independent of the user's matplotlib settings."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        # imported with the first plot, because the import is slow
        from matplotlib import rc_context, rcdefaults, rcParams

        with rc_context():
            rcdefaults()
            rcParams.update(_STYLE)
            return draw(*args, **kwargs)

    return drawn


def lines(times: F64, values: F64, names: Sequence[str], unit: str) -> str:
    """Curves at the same times: ``times`` (n,) s, ``values`` (n, k), one name each."""
    values = values.reshape(len(times), -1)
    return curves([(name, times, values[:, k]) for k, name in enumerate(names)], unit)


@_styled
def curves(
    named: Sequence[tuple[str, F64, F64]],
    unit: str,
    limits: tuple[float, float] | None = None,
    broad: int = 0,
) -> str:
    """Curves over time: name, times (n,) s and values (n,) of each; ``limits`` are drawn dashed.

    The first ``broad`` curves are drawn wide and translucent, to be visible beneath the others.
    """
    finite = [
        (times[np.isfinite(values)], _bounded(values[np.isfinite(values)]))
        for _, times, values in named
    ]
    known = [(times, values) for times, values in finite if len(times)]
    if not known:
        return NOTHING
    axes = _axes(_HEIGHT, _BOTTOM, "s", unit)
    for limit in limits or ():
        axes.axhline(float(_bounded(np.array(limit))), color=_LIMIT, linewidth=1, dashes=(5, 3))
    for k, (times, values) in enumerate(finite):
        width = 5 if k < broad else 1.2
        axes.plot(times, values, color=_colour(k), linewidth=width, alpha=0.35 if k < broad else 1)
    axes.set_xlim(*_span(min(t[0] for t, _ in known), max(t[-1] for t, _ in known)))
    shown = [edge(v) for _, v in known for edge in (np.min, np.max)]
    axes.set_ylim(*_padded([*shown, *_bounded(np.array(limits or ()))]))
    return _svg(axes) + _legend([(name, _colour(k)) for k, (name, _, _) in enumerate(named)])


@_styled
def histogram(values: F64, counts: NDArray[np.int64], unit: str, colour: str = PALETTE[0]) -> str:
    """Histogram of ``values`` (n,), ascending, each of which occurs ``counts`` (n,) times; the last
    bar contains all values above the 99.5th percentile.
    """
    if not len(values):
        return NOTHING
    ranks = np.cumsum(counts)
    low = float(values[0])
    high = float(values[np.searchsorted(ranks, 0.995 * ranks[-1])])
    high = high if high > low else low + 1.0
    bars, edges = np.histogram(np.minimum(values, high), bins=40, range=(low, high), weights=counts)
    axes = _axes(_HEIGHT, _BOTTOM, unit, "messages")
    width = float(edges[1] - edges[0])
    axes.bar(edges[:-1] + width / 2, bars, 0.92 * width, color=colour)
    axes.set_xlim(low, high)
    axes.set_ylim(0, max(float(bars.max()), 1.0))
    return _svg(axes)


@_styled
def bars(names: Sequence[str], values: Sequence[float], unit: str) -> str:
    """Horizontal bars, one for each name, labelled with their values."""
    if not names:
        return NOTHING
    sizes = [min(abs(value), _LARGEST) if np.isfinite(value) else 0.0 for value in values]
    axes = _axes(len(names) * 24 + 6, 4, "", "", left=96, top=2)
    drawn = axes.barh(
        range(len(names)), sizes, height=0.6, color=[_colour(k) for k in range(len(names))]
    )
    axes.bar_label(drawn, [f"{value:.3g} {unit}" for value in values], padding=6, color=_TEXT)
    axes.set_yticks(range(len(names)), [_printable(name) for name in names])
    axes.set_xticks([])
    axes.grid(False)
    axes.set_xlim(0, 1.25 * max(sizes) or 1.0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    return _svg(axes)


@_styled
def strip(changes: Sequence[tuple[float, str]], end: float, colours: dict[str, str]) -> str:
    """States over time: time (s) and new state of each change; the last state lasts until ``end``.

    States that are not in ``colours`` are grey.
    """
    if not changes:
        return NOTHING
    low, high = _span(changes[0][0], end)
    until = [time for time, _ in changes[1:]] + [end]
    axes = _axes(42, 16, "", "", top=4)
    titles = {}
    for k, ((time, state), stop) in enumerate(zip(changes, until)):
        width = max(stop - time, (high - low) / 1000)  # short states stay visible
        (bar,) = axes.barh(0, width, height=1, left=time, color=colours.get(state, GREY))
        bar.set_gid(f"state-{k}")
        titles[f"state-{k}"] = f"{_printable(state)}, {time:.2f} to {stop:.2f} s"
    axes.set_xlim(low, high)
    axes.set_ylim(-0.5, 0.5)
    axes.set_yticks([])
    axes.grid(False)
    there = dict.fromkeys(state for _, state in changes)
    return _svg(axes, titles) + _legend([(s, colours.get(s, GREY)) for s in there], least=1)


def _axes(
    height: int, bottom: int, x_unit: str, y_unit: str, left: int = _LEFT, top: int = _TOP
) -> "Axes":
    """Axes of a picture `_WIDTH` wide; ``left``, ``bottom`` and ``top`` are margins in pixels."""
    from matplotlib import ticker
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH / 72, height / 72), dpi=72)
    across = (_WIDTH - left - _RIGHT) / _WIDTH
    axes = figure.add_axes(
        (left / _WIDTH, bottom / height, across, (height - bottom - top) / height),
        facecolor="none",
    )
    figure.patch.set_visible(False)
    axes.grid(axis="y", color=_GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=5, labelcolor=_TEXT)
    for axis, count in ((axes.xaxis, 5), (axes.yaxis, 4)):
        axis.set_major_locator(ticker.MaxNLocator(count, steps=(1, 2, 5, 10)))
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:.6g}"))
    figure.text(1 - _RIGHT / _WIDTH, 0.01, x_unit, ha="right", va="bottom", color=_TEXT)
    figure.text(0.004, 0.99, y_unit, ha="left", va="top", color=_TEXT)
    return axes


def _svg(axes: "Axes", titles: dict[str, str] | None = None) -> str:
    """The picture as an element that fills the width of the page; ``titles`` are the tooltips of
    elements, by id.
    """
    buffer = BytesIO()
    cast("Figure", axes.figure).savefig(buffer, format="svg", metadata=_NO_METADATA)
    root = ElementTree.fromstring(buffer.getvalue())
    _tidy(root, titles or {})
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img"}
    return ElementTree.tostring(root, encoding="unicode")


def _tidy(element: ElementTree.Element, titles: dict[str, str]) -> None:
    """Remove fonts, style sheets, ids and references to ids, which would affect or duplicate those
    of the page, and add the titles.
    """
    element.tag = element.tag.removeprefix(_SVG)
    element.text = (element.text or "").strip()
    element.tail = None
    element.attrib.pop("clip-path", None)
    if "style" in element.attrib:
        element.attrib["style"] = _FONT.sub("", element.attrib["style"])
    title = titles.get(element.attrib.pop("id", ""))
    for child in list(element):
        _tidy(child, titles)
        if child.tag == "defs" or (child.tag == "g" and not len(child)):
            element.remove(child)
    if title is not None:
        ElementTree.SubElement(element, "title").text = title


def _legend(named: Sequence[tuple[str, str]], least: int = 2) -> str:
    """Names in their colours; empty if there are fewer than ``least``."""
    if len(named) < least:
        return ""
    words = "".join(
        f'<span style="color:{colour}">&#9632; {escape(_printable(name))}</span> '
        for name, colour in named
    )
    return f'<p class="legend">{words}</p>'


def _colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def _printable(name: str) -> str:
    """A name without the characters that XML cannot hold."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def _bounded(values: F64) -> F64:
    return np.clip(values, -_LARGEST, _LARGEST)


def _span(low: float, high: float) -> tuple[float, float]:
    return low, max(high, low + 1e-9 * max(abs(low), 1.0))


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low = float(min(values))
    high = float(max(values))
    pad = (high - low) * 0.06 or max(abs(high) * 0.1, 0.5)
    return low - pad, high + pad
