"""Plots of pages: complete and plain SVG for any input, and identical bytes for identical data."""

import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pallas_ros.view import svg

TIMES = np.arange(50) / 10
HOSTILE = "</svg><script>x</script> $\\frac{ &amp; \x00\x1b\ud800 \" onload='"


def parsed(html: str) -> ElementTree.Element:
    """Return the elements of some plots and their legends."""
    return ElementTree.fromstring(f"<div>{html}</div>")


def texts(html: str) -> list[str]:
    return [element.text or "" for element in parsed(html).iter("text")]


def every_plot(name: str) -> list[str]:
    values = np.column_stack((np.sin(TIMES), np.cos(TIMES)))
    return [
        svg.lines(TIMES, values, (name, "other"), "m"),
        svg.curves([(name, TIMES, values[:, 0])], "rad", (-1.25, 2.5), broad=1),
        svg.histogram(np.arange(20.0), np.arange(20), "ms"),
        svg.bars((name, "other"), (0.5, np.nan), "deg"),
        svg.strip([(0.0, name), (1.0, "stopped")], 2.0, {"stopped": "#c0392b"}),
    ]


def test_names_are_text_whatever_they_hold() -> None:
    html = "".join(every_plot(HOSTILE))
    elements = list(parsed(html).iter())
    assert {element.tag for element in elements} == {
        *("div", "svg", "g", "path", "text", "title", "p", "span")
    }
    allowed = {"viewBox", "role", "d", "style", "x", "y", "transform", "class"}
    assert set().union(*(element.attrib for element in elements)) <= allowed
    assert "url(" not in html
    bars = every_plot(HOSTILE)[3]
    assert any(text.startswith("</svg><script>x</script> $\\frac{ &amp;") for text in texts(bars))


def test_plots_are_the_same_every_time_and_share_no_ids() -> None:
    first = every_plot("one")
    assert first == every_plot("one")
    assert not any(" id=" in plot or "<style" in plot for plot in first)


def test_curves_have_units_round_ticks_limits_and_a_legend() -> None:
    html = svg.curves(
        [("left", TIMES, 0.1 * TIMES), ("right", TIMES, TIMES)], "rad", (-1.25, 6.5), broad=1
    )
    shown = texts(html)
    assert shown[-2:] == ["s", "rad"]
    assert {"1", "2", "3", "4"} <= set(shown)
    assert html.count("stroke-dasharray") == 2
    assert "stroke-width: 5" in html
    assert [span.text for span in parsed(html).iter("span")] == ["■ left", "■ right"]
    assert "legend" not in svg.lines(TIMES, TIMES, ("alone",), "m")


def test_bars_and_states_say_their_values() -> None:
    shown = texts(svg.bars(("hand", "arm"), (0.5, -2.0), "deg"))
    assert {"hand", "0.5 deg", "arm", "-2 deg"} <= set(shown)
    html = svg.strip([(0.0, "holding"), (1.5, "stopped")], 2.0, {"stopped": "#c0392b"})
    titles = [title.text for title in parsed(html).iter("title")]
    assert titles == ["holding, 0.00 to 1.50 s", "stopped, 1.50 to 2.00 s"]
    assert [span.text for span in parsed(html).iter("span")] == ["■ holding", "■ stopped"]


@settings(max_examples=40)
@given(
    st.lists(st.floats(width=64), max_size=6),
    st.none() | st.tuples(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300)),
    st.floats(0, 2e9),
)
def test_any_values_give_a_picture_of_finite_places(
    values: list[float], limits: tuple[float, float] | None, begin: float
) -> None:
    times = begin + np.arange(len(values)) * 1e-3
    drawn = svg.curves([("a", times, np.array(values, dtype=float))], "m", limits)
    states = svg.strip([(t, "on") for t in times.tolist()], begin + 1e-3 * len(values), {})
    many = svg.bars([str(k) for k in range(len(values))], values, "m")
    for html in (drawn, states, many):
        parsed(html)
        assert html == svg.NOTHING or html.startswith("<svg ")
        for element in parsed(html).iter("path"):
            assert "nan" not in element.attrib["d"] and "inf" not in element.attrib["d"]


def test_matplotlib_is_imported_with_the_first_plot_only() -> None:
    code = (
        "import sys, pallas_ros.view.svg, pallas_ros.commands.report\n"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
