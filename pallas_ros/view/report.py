"""Self-contained HTML report of a recorded session, with embedded pictures and video."""

import base64
import io
import json
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pallas_ros.bags import Bag
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.core.errors import readable
from pallas_ros.files.writing import save_text
from pallas_ros.imu.calibration import Calibration
from pallas_ros.view import sections, svg
from pallas_ros.view.figure import Figure, Person, write_clip
from pallas_ros.view.generated import generated_table
from pallas_ros.view.measure import STAGES, Session, measure
from pallas_ros.view.moments import BagFile, Recording, unknown_joints
from pallas_ros.view.page import KEPT, LAYOUT, Written, page_of
from pallas_ros.view.raster import Camera
from pallas_ros.view.robot import RobotShape
from pallas_ros.view.scene import STATE_COLOURS
from pallas_ros.view.sections import Options, Progress

U8 = NDArray[np.uint8]
FILM_FPS = 12.0
FILM_SECONDS = 15.0
FILM_SIZE = (640, 400)
SHEET = (4, 3)


def write_report(
    bag: str | Path,
    page: str | Path,
    film: bool = True,
    progress: Progress = lambda done, of: None,
    options: Options | None = None,
) -> Written:
    """Read a bag and write its report atomically.

    Args:
        bag: path of the bag.
        page: HTML file to write.
        film: whether to include a video.
        progress: called with the number of messages read and the total.
        options: of the sections that other packages add, by name.

    Raises:
        PallasError: there is no bag, it is empty, a section lacks what its options need, or the
            page cannot be written.
    """
    page = Path(page)
    options = options or {}
    session = measure(bag, progress)
    robot = _robot(session)
    added = sections.written(Bag(bag), options, progress)
    parts = [
        _head(session),
        _pictures(session, robot, film),
        generated_table(session.generated),
        _topics(session),
        _latency(session),
        _body(session),
        *(section.html for section in added),
        _arm(session, robot),
        _events(session),
    ]
    html = page_of(f"Session {session.path.name}", "".join(parts))
    figures = session.figures()
    for section in added:
        figures |= section.figures
    kept = {
        "layout": LAYOUT,
        "film": film,
        "options": options,
        "figures": figures,
        "damage": session.damage,
    }
    text = quote(json.dumps(kept)).replace(
        "-", "%2D"
    )  # two hyphens are not allowed in an HTML comment
    save_text(page, f"{html}\n<!--{KEPT}{text}-->\n")
    lines = tuple(line for section in added for line in section.lines)
    return Written(page, figures, session.damage, lines)


def frames(
    recording: Recording,
    robot: RobotShape | None,
    times: NDArray[np.float64],
    size: tuple[int, int],
) -> Iterator[U8]:
    """Draw a recording at given times; the body is omitted if it is unknown.

    Args:
        recording: bag or motion file.
        robot: the arm, or None.
        times: (n,) s.
        size: width and height in pixels.

    Yields:
        Pictures (height, width, 3).
    """
    eye = Camera().eye
    target = Camera().target
    aside = 0.0 if robot is not None else 0.35
    camera = Camera((eye[0] + 0.4, eye[1] + aside, eye[2]), (0.0, target[1] + aside, target[2]))
    figure = Figure(robot=robot, size=size, camera=camera)
    for time in times.tolist():
        moment = recording.at(time)
        people = []
        caption = f"{time:.1f} s"
        if moment.body is not None:
            pose = moment.body
            # keep the operator in the picture, although they walk and odometry drifts
            in_place = pose[:, :3] - np.nan_to_num(pose[0, :3]) * [1, 1, 0]
            people = [Person(in_place, pose[:, 3:])]
            unknown = unknown_joints(pose)
            caption += f"; {unknown}" if unknown else ""
        yield figure.draw(people, (moment.joints or None) if robot is not None else None, caption)


def _robot(session: Session) -> RobotShape | None:
    if not session.robot or not session.joints.times:
        return None
    try:
        return RobotShape.parse(
            session.robot.encode(),
            session.path.resolve().parent,
            "the bag's robot description",
            detail_m=0.03,
        )
    except PallasError:
        return None


def _pictures(session: Session, robot: RobotShape | None, film: bool) -> str:
    if not session.body_topic:
        return '<p class="warn">No bodies in this bag, so there is nothing to draw.</p>'
    recording = BagFile(session.path)
    recording.person = session.person
    first, last = recording.body_span() or (0.0, 0.0)
    return pictures(recording, robot, first, last, film)


def pictures(
    recording: Recording, robot: RobotShape | None, first: float, last: float, film: bool
) -> str:
    """A contact sheet from ``first`` to ``last`` s, and a video if ``film`` is True."""
    columns, rows = SHEET
    tiles = list(frames(recording, robot, np.linspace(first, last, columns * rows), (400, 300)))
    sheet = np.concatenate(
        [np.concatenate(tiles[row * columns : (row + 1) * columns], axis=1) for row in range(rows)]
    )
    html = f'<h2>In {columns * rows} pictures</h2><img alt="contact sheet" src="{_image(sheet)}">'
    return html + _film(recording, robot, first, last) if film else html


def _film(recording: Recording, robot: RobotShape | None, first: float, last: float) -> str:
    """A video of `FILM_SECONDS`, starting after the first third of the bodies."""
    begin = max(first, min(last - FILM_SECONDS, first + (last - first) * 0.3))
    times = np.arange(
        begin, max(min(begin + FILM_SECONDS, last), begin + 1 / FILM_FPS), 1 / FILM_FPS
    )
    poster = _image(next(frames(recording, robot, times[:1], FILM_SIZE)))
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "film.mp4"
        write_clip(clip, frames(recording, robot, times, FILM_SIZE), FILM_FPS)
        data = _encode(clip.read_bytes())
    return (
        f"<h2>{len(times) / FILM_FPS:.0f} s of the session, from {begin:.0f} s</h2><video controls"
        f' muted loop preload="none" width="{FILM_SIZE[0]}" height="{FILM_SIZE[1]}"'
        f' poster="{poster}" src="data:video/mp4;base64,{data}"></video>'
    )


def _image(picture: U8) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).quantize(128).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{_encode(buffer.getvalue())}"


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _head(session: Session) -> str:
    warnings = [session.damage] if session.damage else []
    if session.damaged_messages:
        warnings.append(f"{session.damaged_messages} messages could not be read")
    warn = f'<p class="warn">{escape("; ".join(warnings))}</p>' if warnings else ""
    cards = "".join(
        f"<div><b>{value}</b><span>{escape(name)}</span></div>" for name, value in _cards(session)
    )
    where = session.path.resolve()
    title = escape(f"{where.parent.name}/{where.name}")
    begun = datetime.fromtimestamp(session.begun / 1e9, timezone.utc).strftime(
        "%Y-%m-%d %H:%M:%S UTC"
    )
    return (
        f'<h1>{title}</h1><p class="dim">recorded from {begun}</p>{warn}<div'
        f' class="cards">{cards}</div>'
    )


def _cards(session: Session) -> Iterator[tuple[str, str]]:
    """The key figures at the top of the page."""
    yield (
        "recorded",
        (
            f"{session.duration:.1f} s"
            if session.duration < 600
            else f"{session.duration / 60:.0f} min"
        ),
    )
    yield "messages", f"{sum(topic.count for topic in session.topics.values()):,}".replace(",", " ")
    if session.body_topic:
        topic = session.topics[session.body_topic]
        yield f"of {session.body_topic}", f"{topic.rate:.1f} Hz"
        yield "longest gap between bodies", f"{topic.max_gap_ms:.0f} ms"
    for stage in ("command", "smoothed", "body"):
        if stage in session.latencies:
            p50, p99 = session.latencies[stage].percentiles(50, 99)
            yield f"latency to the {stage}, p50 / p99", f"{p50:.1f} / {p99:.1f} ms"
            break
    if session.commands[0]:
        yield (
            "commands limited",
            f"{100 * session.commands[1] / session.commands[0]:.0f} %",
        )
    yield "events", str(len(session.events))


def _topics(session: Session) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td class='words'>{escape(t.msgtype)}</td>"
        f"<td>{t.count}</td><td>{t.rate:.1f}</td><td>{t.max_gap_ms:.1f}</td></tr>"
        for name, t in sorted(session.topics.items())
    )
    head = (
        "<tr><th>topic</th><th class='words'>type</th><th>messages</th><th>Hz</th><th>longest gap,"
        " ms</th></tr>"
    )
    return f"<h2>What was recorded</h2><table>{head}{rows}</table>"


def _latency(session: Session) -> str:
    blocks = []
    for stage, meaning in STAGES.items():
        if stage in session.latencies:
            values, counts = session.latencies[stage].arrays()
            p50, p99 = session.latencies[stage].percentiles(50, 99)
            words = (
                f"<p><b>{stage}</b>, {meaning}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst"
                f" {values[-1]:.1f} ms</p>"
            )
            over_time = svg.lines(*session.latency_ms[stage].arrays(), (stage,), "ms")
            blocks.append(f"<div>{words}{svg.histogram(values, counts, 'ms')}{over_time}</div>")
    return f'<h2>Latency by stage</h2><div class="grid">{"".join(blocks)}</div>' if blocks else ""


def _body(session: Session) -> str:
    blocks = []
    people = len(session.people)
    of = f" of {escape(readable(session.person))}, one of {people} people" if people > 1 else ""
    if session.confidence.times:
        blocks.append(
            (
                f"Confidence{of}",
                svg.lines(
                    *session.confidence.arrays(),
                    ("mean", "lowest joint", "share of valid joints"),
                    "",
                ),
            )
        )
    if session.wrists.times:
        plot = svg.lines(*session.wrists.arrays(), ("left", "right"), "m")
        blocks.append((f"Height of the wrists{of}", plot))
    if session.calibration:
        blocks += _calibration(session.calibration)
    if session.drift.times:
        blocks.append(
            (
                "Heading drift corrected since calibration",
                svg.lines(*session.drift.arrays(), SITES, "deg"),
            )
        )
    html = "".join(f"<div><p><b>{name}</b></p>{plot}</div>" for name, plot in blocks)
    document = (
        f"<details><summary>Calibration</summary><pre>{escape(session.calibration)}</pre></details>"
        if session.calibration
        else ""
    )
    return f'<h2>Body</h2><div class="grid">{html}</div>{document}' if html or document else ""


def _calibration(text: str) -> list[tuple[str, str]]:
    """Bar charts of the residuals and gyroscope biases of a calibration."""
    try:
        sites = Calibration.from_yaml(text, "the recorded calibration").sites
    except PallasError as error:
        return [("Calibration", f"<p>{escape(str(error))}</p>")]
    degrees = {
        site: [np.degrees(found.residual), np.degrees(np.linalg.norm(found.gyroscope_bias))]
        for site, found in sites.items()
    }
    residuals, biases = zip(*degrees.values()) if degrees else ((), ())
    return [
        (
            (
                "Calibration residual: how much each sensor moved while held still, or how far"
                " the poses disagree"
            ),
            svg.bars(list(degrees), residuals, "deg"),
        ),
        ("Gyroscope bias from the calibration", svg.bars(list(degrees), biases, "deg/s")),
    ]


def _arm(session: Session, robot: RobotShape | None) -> str:
    blocks = []
    if session.states:
        blocks.append(("Supervisor", svg.strip(session.states, session.duration, STATE_COLOURS)))
        blocks.append(
            ("Speed scale", svg.lines(*session.speed_scale.arrays(), ("1 is full speed",), ""))
        )
    limits = robot.limits if robot is not None else {}
    both = [
        (words, *curve.arrays())
        for words, curve in (("command", session.commanded), ("measured", session.joints))
        if curve.times
    ]
    for index, name in enumerate(session.joint_names if both else ()):
        plot = svg.curves(
            [(words, times, values[:, index]) for words, times, values in both],
            "rad",
            limits.get(name),
            broad=1,
        )
        blocks.append((f"{name}, with its limits" if name in limits else name, plot))
    html = "".join(f"<div><p><b>{escape(name)}</b></p>{plot}</div>" for name, plot in blocks)
    limited = sorted(session.limited_by.items(), key=lambda item: -item[1])
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{count}</td></tr>" for name, count in limited)
    sent, held = session.commands
    table = (
        f"<table><tr><th>limited by</th><th>status messages</th></tr>{rows}</table>" if rows else ""
    )
    words = f"<p>{sent} commands were sent, {held} of them limited.</p>" if sent else ""
    if session.more_joints:
        words += f"<p>{session.more_joints} more joints are not shown.</p>"
    return f'<h2>Arm</h2><div class="grid">{html}</div>{words}{table}' if html else ""


def _events(session: Session) -> str:
    rows = "".join(
        f"<tr><td>{time:.2f} s</td><td class='words'>{escape(what)}</td></tr>"
        for time, what in session.events
    )
    return f"<h2>Events</h2><table>{rows}</table>" if rows else ""
