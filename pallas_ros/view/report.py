"""One self-contained HTML page about a recorded session: it opens with no network, and carries its pictures and its film."""

import base64
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.view import svg
from pallas_ros.view.figure import Figure, Person, write_clip
from pallas_ros.view.measure import STAGES, Session, measure
from pallas_ros.view.raster import Camera
from pallas_ros.view.robot import RobotShape

U8 = NDArray[np.uint8]
FILM_FPS, FILM_SECONDS = 12.0, 15.0
SHEET = (4, 3)
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#23272e;max-width:1180px;margin:2rem auto;padding:0 1rem;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem;border-bottom:1px solid #d8dce2}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #eceff2}
td:first-child,th:first-child{text-align:left}svg{width:100%;font-size:10px;fill:#59616c}img,video{max-width:100%;border-radius:6px}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:1rem}.legend span{margin-right:1rem;white-space:nowrap}
.warn{background:#fff3dd;padding:.5rem .8rem;border-radius:6px}pre{background:#f5f6f8;padding:.7rem;overflow:auto;max-height:18rem}
"""


@dataclass(frozen=True)
class Written:
    """A report that was written: the page, and the bag's figures."""

    page: Path
    figures: dict[str, float]


def write_report(bag: str | Path, page: str | Path, film: bool = True, progress: Callable[[str], None] = lambda what: None) -> Written:
    """Read a bag and write its page, whole or not at all.

    Raises:
        PallasError: there is no bag, nothing in it, or the page cannot be written.
    """
    page = Path(page)
    progress("reading")
    session = measure(bag)
    progress("drawing")
    pictures = _pictures(session, film)
    parts = [_head(session), pictures, _topics(session), _latency(session), _body(session), _arm(session), _events(session)]
    html = _page(f"Session {session.path.name}", "".join(parts))
    save_text(page, html)
    return Written(page, session.figures())


def write_index(rows: dict[str, Written | str], page: Path) -> None:
    """The table over many bags: each a row of figures and a link, or the sentence why it has none."""
    names = sorted({name for row in rows.values() if isinstance(row, Written) for name in row.figures})
    lines = []
    for bag, row in sorted(rows.items()):
        if isinstance(row, str):
            lines.append(f'<tr><td>{escape(bag)}</td><td colspan="{len(names)}">{escape(row)}</td></tr>')
        else:
            cells = "".join(f"<td>{row.figures[name]:.5g}</td>" if name in row.figures else "<td></td>" for name in names)
            lines.append(f'<tr><td><a href="{escape(row.page.name)}">{escape(bag)}</a></td>{cells}</tr>')
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    save_text(page, _page("Sessions", f"<h1>Sessions</h1><table><tr><th>bag</th>{head}</tr>{''.join(lines)}</table>"))


def save_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise PallasError(f"{path}: cannot be written: {error.strerror}") from None


def frames(session: Session, times: NDArray[np.float64], size: tuple[int, int]) -> Iterator[U8]:
    """Pictures of the body, and of the arm where the bag describes it, at ``times`` s."""
    stamps, poses = session.bodies.arrays()
    joint_times, joints = session.joints.arrays()
    robot = _robot(session)
    eye, target = Camera().eye, Camera().target
    aside = 0.0 if robot is not None else 0.35
    camera = Camera((eye[0] + 0.4, eye[1] + aside, eye[2]), (0.0, target[1] + aside, target[2]))
    figure = Figure(robot=robot, size=size, camera=camera)
    for time in times:
        pose = poses[min(int(np.searchsorted(stamps, time)), len(poses) - 1)]
        at = None
        if robot is not None:
            q = joints[min(int(np.searchsorted(joint_times, time)), len(joints) - 1)]
            at = dict(zip(session.joint_names, q.tolist()))
        in_place = pose[:, :3] - pose[0, :3] * [1, 1, 0]  # the operator walks, and odometry drifts: they stay in the picture
        yield figure.draw([Person(in_place, pose[:, 3:])], at, f"{time:.1f} s")


def _robot(session: Session) -> RobotShape | None:
    if not session.robot or not session.joints.times:
        return None
    try:
        return RobotShape.parse(session.robot.encode(), session.path.resolve().parent, "the bag's robot description", detail_m=0.03)
    except PallasError:
        return None


def _pictures(session: Session, film: bool) -> str:
    if not session.bodies.times:
        return '<p class="warn">No bodies in this bag, so there is nothing to draw.</p>'
    first, last = session.bodies.times[0], session.bodies.times[-1]
    columns, rows = SHEET
    tiles = list(frames(session, np.linspace(first, last, columns * rows), (400, 300)))
    sheet = np.concatenate([np.concatenate(tiles[row * columns : (row + 1) * columns], axis=1) for row in range(rows)])
    buffer = io.BytesIO()
    Image.fromarray(sheet).quantize(128).save(buffer, "PNG", optimize=True)
    html = f'<h2>The session in {columns * rows} pictures</h2><img alt="contact sheet" src="data:image/png;base64,{_encode(buffer.getvalue())}">'
    if film:
        begin = max(first, min(last - FILM_SECONDS, first + (last - first) * 0.3))
        times = np.arange(begin, min(begin + FILM_SECONDS, last), 1 / FILM_FPS)
        with tempfile.TemporaryDirectory() as folder:
            clip = Path(folder) / "film.mp4"
            write_clip(clip, frames(session, times if len(times) else np.array([first]), (640, 400)), FILM_FPS)
            data = _encode(clip.read_bytes())
        html += f'<h2>{len(times) / FILM_FPS:.0f} s of it</h2><video controls muted loop src="data:video/mp4;base64,{data}"></video>'
    return html


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _page(title: str, body: str) -> str:
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>{body}</html>\n'


def _head(session: Session) -> str:
    warnings = [session.damage] if session.damage else []
    if session.damaged_messages:
        warnings.append(f"{session.damaged_messages} messages could not be read")
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{value:.5g}</td></tr>" for name, value in session.figures().items())
    warn = f'<p class="warn">{escape("; ".join(warnings))}</p>' if warnings else ""
    return f"<h1>{escape(session.path.name)}</h1>{warn}<table>{cells}</table>"


def _topics(session: Session) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(t.msgtype)}</td><td>{t.count}</td><td>{t.rate:.1f}</td><td>{t.max_gap_ms:.1f}</td></tr>"
        for name, t in sorted(session.topics.items())
    )
    return f"<h2>What was recorded</h2><table><tr><th>topic</th><th>type</th><th>messages</th><th>Hz</th><th>longest gap, ms</th></tr>{rows}</table>"


def _latency(session: Session) -> str:
    blocks = []
    for stage, meaning in STAGES.items():
        if stage in session.latency_ms:
            values = session.latency_ms[stage].arrays()[1]
            p50, p99, worst = *np.percentile(values, (50, 99)), values.max()
            words = f"<p><b>{stage}</b>, {meaning}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {worst:.1f} ms</p>"
            blocks.append(f"<div>{words}{svg.histogram(values, 'ms')}</div>")
    return f'<h2>Latency by stage</h2><div class="grid">{"".join(blocks)}</div>' if blocks else ""


def _body(session: Session) -> str:
    blocks = []
    if session.confidence.times:
        blocks.append(("Confidence", svg.lines(*session.confidence.arrays(), ("mean", "lowest joint", "share of valid joints"), "")))
    if session.wrists.times:
        times, values = session.wrists.arrays()
        blocks.append(("Height of the wrists", svg.lines(times, values.reshape(len(times), -1)[:, [2, 5]], ("left", "right"), "m")))
    if session.drift.times:
        blocks.append(("Heading drift corrected since calibration", svg.lines(*session.drift.arrays(), SITES, "deg")))
    html = "".join(f"<div><p><b>{name}</b></p>{plot}</div>" for name, plot in blocks)
    calibration = (
        f"<details><summary>Calibration</summary><pre>{escape(session.calibration)}</pre></details>" if session.calibration else ""
    )
    return f'<h2>Body</h2><div class="grid">{html}</div>{calibration}' if html or calibration else ""


def _arm(session: Session) -> str:
    blocks = []
    if session.joints.times:
        blocks.append(("Joint positions", svg.lines(*session.joints.arrays(), session.joint_names, "rad")))
    if session.state.times:
        names = ("state: 0 disengaged, 1 aligning, 2 tracking, 3 holding, 4 stopped", "speed scale")
        blocks.append(("Supervisor", svg.lines(*session.state.arrays(), names, "")))
    html = "".join(f"<div><p><b>{name}</b></p>{plot}</div>" for name, plot in blocks)
    limited = sorted(session.limited_by.items(), key=lambda item: -item[1])
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{count}</td></tr>" for name, count in limited)
    sent, held = session.commands
    table = f"<table><tr><th>held back by</th><th>times seen</th></tr>{rows}</table>" if rows else ""
    words = f"<p>{sent} commands were sent, {held} of them held back by a limit.</p>" if sent else ""
    return f'<h2>Arm</h2><div class="grid">{html}</div>{words}{table}' if html else ""


def _events(session: Session) -> str:
    rows = "".join(f"<tr><td>{time:.2f} s</td><td style='text-align:left'>{escape(what)}</td></tr>" for time, what in session.events)
    return f"<h2>Events</h2><table>{rows}</table>" if rows else ""
