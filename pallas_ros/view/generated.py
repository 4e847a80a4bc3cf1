"""The section of the report on generated motion."""

from collections.abc import Sequence
from html import escape


def generated_table(motions: Sequence[tuple[float, str, str]]) -> str:
    """The section on generated motions; empty if there are none.

    Args:
        motions: start (s), request, and the second line of `pallas_ros.body.origin.Origin.lines`.
    """
    if not motions:
        return ""
    rows = "".join(
        f"<tr><td>{time:.2f} s</td><td class='words'>{escape(request)}</td>"
        f"<td class='words'>{escape(rest)}</td></tr>"
        for time, request, rest in motions
    )
    head = (
        "<tr><th>from</th><th class='words'>request</th>"
        "<th class='words'>generator, alignment with the request, candidates</th></tr>"
    )
    return f"<h2>Generated motion</h2><table>{head}{rows}</table>"
