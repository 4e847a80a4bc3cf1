"""HTML pages that need no network, and the overview table of many pages."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pallas_ros.body.errors import PallasError
from pallas_ros.files.opening import ANY_BYTES, open_regular
from pallas_ros.files.writing import save_text

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#23272e;max-width:1180px;margin:2rem auto;padding:0 1rem;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem;border-bottom:1px solid #d8dce2}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #eceff2}
td:first-child,th:first-child{text-align:left}svg{width:100%;font-size:10px;fill:#59616c}img,video{max-width:100%;border-radius:6px}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:1rem}.legend span{margin-right:1rem;white-space:nowrap}
.cards{display:flex;flex-wrap:wrap;gap:.7rem;margin:1rem 0}.cards div{background:#f5f6f8;border-radius:8px;padding:.55rem 1rem;min-width:7.5rem}
.cards b{display:block;font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums}.cards span,.dim{color:#68707c;font-size:.86rem}
h1{margin-bottom:0}.dim{margin:.1rem 0 0}.words{text-align:left!important}
.warn{background:#fff3dd;padding:.5rem .8rem;border-radius:6px}pre{background:#f5f6f8;padding:.7rem;overflow:auto;max-height:18rem}
"""  # noqa: E501
KEPT = " pallas-report "
"""Marks the comment at the end of a page that contains its figures, for the overview table."""
LAYOUT = 3
"""Version of the contents of a page; increment it if pages get other sections or figures."""
_KEPT_BYTES = 1 << 16


@dataclass(frozen=True)
class Written:
    """A report that was written: the page, the figures of the bag, its defects, and figures in
    words.
    """

    page: Path
    figures: dict[str, float]
    damage: str = ""
    lines: tuple[str, ...] = ()


def read_written(
    page: str | Path, film: bool, options: Mapping[str, Any] | None = None
) -> Written | None:
    """Read the figures stored in an existing page.

    Returns:
        The report; None if the page has no figures, or was written with another `LAYOUT`, another
        ``film`` (whether it has a video) or other ``options`` of its sections.
    """
    page = Path(page)
    try:
        with open_regular(page, "report", ANY_BYTES) as file:
            file.seek(max(0, file.seek(0, 2) - _KEPT_BYTES))
            end = file.read(_KEPT_BYTES).decode("ascii", "replace")
        kept = json.loads(unquote(end[end.rindex(KEPT) + len(KEPT) : end.rindex("-->")]))
        if kept["layout"] != LAYOUT or kept["film"] is not film:
            return None
        if kept["options"] != (options or {}):
            return None
        figures = {str(name): float(value) for name, value in kept["figures"].items()}
        return Written(page, figures, str(kept["damage"]))
    except (PallasError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    except OverflowError:  # a figure that no float can hold
        return None


def write_index(rows: dict[str, Written | str], page: Path) -> None:
    """Write a table of many bags: one row each, with figures and a link, or the reason why there
    are none.
    """
    names = sorted(
        {name for row in rows.values() if isinstance(row, Written) for name in row.figures}
    )
    lines = []
    for bag, row in sorted(rows.items()):
        if isinstance(row, str):
            lines.append(
                f'<tr><td>{escape(bag)}</td><td colspan="{len(names)}">{escape(row)}</td></tr>'
            )
        else:
            cells = "".join(
                f"<td>{row.figures[name]:.5g}</td>" if name in row.figures else "<td></td>"
                for name in names
            )
            lines.append(
                f'<tr><td><a href="{_link(row.page, page)}">{escape(bag)}</a></td>{cells}</tr>'
            )
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    save_text(
        page,
        page_of(
            "Sessions",
            f"<h1>Sessions</h1><table><tr><th>bag</th>{head}</tr>{''.join(lines)}</table>",
        ),
    )


def _link(target: Path, page: Path) -> str:
    """Return the relative address of a file for a link in a page, with its name escaped."""
    way = os.path.relpath(target, page.parent)
    return quote(os.fsencode(way))


def page_of(title: str, body: str) -> str:
    """A complete HTML page with a title and a body."""
    return (
        '<!doctype html><html lang="en"><meta'
        f' charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>{body}</html>\n'
    )
