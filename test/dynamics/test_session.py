"""Loads in the report of a bag: as recorded, or computed from the bodies when asked for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standing_bodies as bodies
from mcap.writer import Writer

pytest.importorskip("pinocchio", reason="needs the extra [robot]")
pytest.importorskip("rclpy")

from hpstm_ros.dynamics import report_section
from hpstm_ros.dynamics.figures import MEDICAL
from hpstm_ros.dynamics.human import Human
from hpstm_ros.dynamics.live import LiveSettings
from hpstm_ros.dynamics.offline import analyse, measured_offsets
from hpstm_ros.dynamics.points import stature
from hpstm_ros.dynamics.session import Instant, Tally, computed, recorded
from hpstm_ros.dynamics.strength import WATCHED
from hpstm_ros.dynamics.summary import summarise
from pallas_ros.bags import Bag, BagWriter
from pallas_ros.bags.types import _known_types, message_definition
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion, resample, save_motion
from pallas_ros.cli import main
from pallas_ros.commands.report import Page, written_before
from pallas_ros.messages.wire import body_to_bytes
from pallas_ros.view.page import read_written

BEGIN = 10**12
LATE = 9_000_000
LOADS = ["--loads", "--mass", "75"]


def bending(seconds: float = 3.0) -> Motion:
    """Slow bows, one in two seconds."""
    t = np.arange(round(seconds * bodies.FPS)) / bodies.FPS
    q = np.stack([bodies.bowed(a) for a in 0.5 - 0.5 * np.cos(np.pi * t)])
    return bodies.moving(q, np.tile(bodies.SKELETON.rest_positions[0], (len(t), 1)))


def frames(motion: Motion, body_id: str = "operator") -> list[BodyFrame]:
    stamps = [BEGIN + round(k * 1e9 / motion.fps) for k in range(len(motion))]
    return [
        BodyFrame(stamp, q, p, None, np.ones(22, bool), np.ones(22), np.zeros(2), stamp, body_id)
        for stamp, p, q in zip(stamps, motion.positions, motion.rotations)
    ]


def body_bag(path: Path, stream: Sequence[BodyFrame], topic: str = "/hpstm/body") -> Path:
    with BagWriter(path) as bag:
        bag.add_topic(topic, "pallas/msg/BodyPose")
        for body in stream:
            bag.write(topic, body.stamp + LATE, body_to_bytes(body))
    return path


def foreign_loads(path: Path, count: int = 3) -> Path:
    """A bag whose definition of BodyLoad has a single field."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2")
        schema = writer.register_schema("pallas/msg/BodyLoad", "ros2msg", b"uint32 number")
        channel = writer.register_channel("/dynamics/load", "cdr", schema)
        for k in range(count):
            writer.add_message(channel, BEGIN + k, b"\0\1\0\0" + k.to_bytes(4, "little"), BEGIN + k)
        writer.finish()
    return path


def load_bag(path: Path, loads: Sequence[dict[str, Any]]) -> Path:
    """A bag of `/dynamics/load` at 60 Hz; each dictionary replaces fields."""
    store = _known_types()
    message_definition("pallas/msg/BodyLoad")
    types = store.types
    with BagWriter(path) as bag:
        bag.add_topic("/dynamics/load", "pallas/msg/BodyLoad")
        for k, given in enumerate(loads):
            stamp = BEGIN + round(k * 1e9 / 60)
            at = types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
            fields: dict[str, Any] = {
                "header": types["std_msgs/msg/Header"](stamp=at, frame_id="odom"),
                "body_id": "operator",
                "known": True,
                "standing": True,
                "names": list(WATCHED),
                "moments": np.zeros(5),
                "deviations": np.full(5, np.nan),
                "shares": np.zeros(5),
                "rula": 3,
                "reba": 2,
                "load_left": 0.0,
                "load_right": 0.0,
                "residual": 0.02,
                "remark": "",
                **given,
            }
            message = types["pallas/msg/BodyLoad"](**fields)
            data = bytes(store.serialize_cdr(message, "pallas/msg/BodyLoad"))
            bag.write("/dynamics/load", stamp + LATE, data)
    return path


def shares(lumbar: float, knee: float = 0.1) -> dict[str, Any]:
    values = np.array([lumbar, 0.2, 0.2, knee, 0.1])
    return {"shares": values, "moments": 100 * values}


def tally(instants: Any) -> Tally:
    counted = Tally()
    for instant in instants:
        if instant is not None:
            counted.add(instant)
    return counted


def test_recorded_loads_are_counted(tmp_path: Path) -> None:
    loads = [shares(0.3)] * 60 + [{**shares(0.6), "rula": 6, "reba": 9}] * 30
    loads += [{**shares(1.2), "rula": 7, "reba": 11, "standing": False, "residual": 0.2}] * 15
    loads += [{"known": False, "names": [], "remark": "no left_knee"}] * 15
    found = tally(recorded(Bag(load_bag(tmp_path / "bag", loads))))
    assert found.peaks[0] == pytest.approx(120) and found.peak_shares[0] == pytest.approx(1.2)
    assert found.peak_times[0] == pytest.approx(1.5, abs=0.02)
    np.testing.assert_allclose(found.above[:, 0], [0.75, 0.25], atol=0.02)
    assert not found.above[:, 1:].any()
    np.testing.assert_allclose(found.rula[[3, 6, 7]], [1.0, 0.5, 0.25], atol=0.02)
    summary = found.summary()
    assert summary.worst is not None and (summary.worst.rula, summary.worst.reba) == (7, 11)
    assert summary.unknown == pytest.approx(0.125, abs=0.01)
    assert summary.flight == pytest.approx(0.25, abs=0.02)
    assert summary.residual == pytest.approx(np.sqrt((6 * 0.02**2 + 0.2**2) / 7), abs=2e-3)
    assert found.doubtful_s == pytest.approx(0.25, abs=0.02)
    assert found.peak_residuals[0] == pytest.approx(0.2)
    assert found.remark == "no left_knee"


def test_the_page_shows_recorded_loads_without_being_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = load_bag(tmp_path / "bag", [shares(0.3)] * 30 + [shares(0.7, knee=0.9)] * 30)
    assert main(["report", str(bag), "--no-film"]) == 0
    page = (tmp_path / "bag.html").read_text()
    assert "Recorded from /dynamics/load" in page and MEDICAL in page
    assert re.search(
        r"<td>lumbar</td><td>70</td><td>70</td><td>0\.5</td><td>2</td><td>0\.5</td>", page
    )
    printed = capsys.readouterr().out
    assert "lumbar: peak 70 Nm, 70 % of the median adult's strength" in printed
    assert MEDICAL in printed
    written = read_written(tmp_path / "bag.html", film=False)
    assert written is not None
    assert written.figures["lumbar_peak_percent"] == pytest.approx(70)
    assert written.figures["knee_peak_percent"] == pytest.approx(90)


def test_hostile_loads_do_not_reach_the_page(tmp_path: Path) -> None:
    loads: list[dict[str, Any]] = [
        {**shares(0.4), "names": ["<script>x</script>"] * 5},
        {**shares(float("nan")), "remark": "<b>bold</b>" + "x" * 100_000},
        {**shares(float("inf"))},
        {"names": list(WATCHED), "moments": np.zeros(1), "shares": np.zeros(0)},
        {**shares(0.4), "rula": 255, "reba": 255, "residual": float("nan")},
    ]
    section = report_section.section(Bag(load_bag(tmp_path / "bag", loads)), {}, lambda a, b: None)
    assert section is not None
    assert "<script>" not in section.html and "<b>bold" not in section.html
    assert "&lt;b&gt;bold" in section.html and "x" * 1000 not in section.html
    assert "7 of 7" in section.html and "15 of 15" in section.html
    assert all(np.isfinite(value) for value in section.figures.values())


def test_a_topic_of_another_type_is_not_taken_for_loads(tmp_path: Path) -> None:
    body_bag(tmp_path / "bag", frames(bodies.still(bodies.arms_down(), 0.2)), "/dynamics/load")
    assert list(recorded(Bag(tmp_path / "bag"))) == []


def test_computed_loads_are_those_of_the_offline_analysis(tmp_path: Path) -> None:
    motion = bending()
    bag = Bag(body_bag(tmp_path / "bag", frames(motion)))
    found = tally(computed(bag, "/hpstm/body", LiveSettings())).summary()
    human = Human(measured_offsets(motion), 75.0, stature(motion))
    expected = summarise(analyse(motion, human), motion)
    for live, offline in zip(found.watched, expected.watched):
        assert live.name == offline.name
        assert live.peak == pytest.approx(offline.peak, rel=0.05, abs=1.0)
        assert live.share == pytest.approx(live.peak / offline.peak * offline.share)
    assert found.watched[0].above == pytest.approx(expected.watched[0].above, abs=0.6)
    assert found.worst == expected.worst


@pytest.mark.parametrize("rate", [25.0, 30.0, 120.0])
def test_bodies_of_any_rate_have_the_same_loads(tmp_path: Path, rate: float) -> None:
    motion = bending()
    found = []
    for k, stream in enumerate((frames(motion), frames(resample(motion, rate)))):
        bag = Bag(body_bag(tmp_path / f"bag{k}", stream))
        found.append(tally(computed(bag, "/hpstm/body", LiveSettings())))
    assert found[1].peaks[0] == pytest.approx(found[0].peaks[0], rel=0.05)
    assert found[1].known_s == pytest.approx(found[0].known_s, abs=0.1)


def test_only_one_person_counts_and_broken_bodies_are_unknown(tmp_path: Path) -> None:
    stream = frames(bodies.still(bodies.arms_down(), 2.0))
    for body in stream[60:75]:
        body.valid[4] = False
    other = frames(bending(2.0), "stranger")
    mixed = [body for pair in zip(stream, other) for body in pair]
    counted = tally(computed(Bag(body_bag(tmp_path / "a", mixed)), "/hpstm/body", LiveSettings()))
    assert counted.peaks[0] < 20
    # 15 frames, and those with one of them in the window
    assert counted.unknown_s == pytest.approx(25 / 60, abs=0.01)
    assert "left_knee" in counted.remark


def test_the_command_computes_loads_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = body_bag(tmp_path / "bag", frames(bending(2.0)), "/pallas/body")
    page = tmp_path / "bag.html"
    command = ["report", str(bag), "--no-film"]
    assert main(command) == 0
    assert "Loads on the body" not in page.read_text()
    assert "lumbar" not in capsys.readouterr().out
    assert written_before(Page(bag, page, False)) is not None
    asked = Page(bag, page, False, {"loads": {"mass": 75.0, "sex": "mean"}})
    assert written_before(asked) is None
    assert main([*command, *LOADS]) == 0
    html = page.read_text()
    assert "Computed from /pallas/body for a mass of 75 kg" in html
    assert "knee moments are not usable" in html
    assert "lumbar: peak" in capsys.readouterr().out
    assert written_before(asked) is not None
    assert written_before(Page(bag, page, False)) is None


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (lambda: frames(bodies.still(bodies.arms_down(), 0.3)), "too few bodies in succession"),
        (lambda: [], "no bodies in this bag"),
    ],
)
def test_a_bag_without_known_loads_says_so(
    tmp_path: Path, stream: Callable[[], list[BodyFrame]], words: str
) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/hpstm/body", "pallas/msg/BodyPose")
        bag.add_topic("/note", "std_msgs/msg/String")
        bag.write("/note", BEGIN, b"\0\1\0\0\2\0\0\0x\0\0\0")
        for body in stream():
            bag.write("/hpstm/body", body.stamp, body_to_bytes(body))
    assert main(["report", str(tmp_path / "bag"), "--no-film", *LOADS]) == 0
    assert words in (tmp_path / "bag.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--loads"], "give the mass"),
        (["--mass", "75"], "add --loads"),
        (["--loads", "--mass", "0"], "give a body mass"),
        (["--loads", "--mass", "nan"], "give a body mass"),
        (LOADS, "pallas dynamics"),
    ],
)
def test_wrong_options_are_one_sentence(
    tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_motion(tmp_path / "m.npz", bodies.still(bodies.arms_down(), 0.2))
    assert main(["report", str(tmp_path / "m.npz"), *options]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "m.html").exists()


def test_a_long_gap_counts_as_one_frame() -> None:
    counted = Tally()
    high = np.full(5, 2.0)
    for stamp in (0, 60 * 10**9, 60 * 10**9 + 20_000_000):
        counted.add(Instant(stamp / 1e9, stamp, 100 * high, high))
    assert counted.known_s == pytest.approx(2 / 60 + 0.02)
    np.testing.assert_allclose(counted.above, counted.known_s)


def test_a_foreign_definition_of_the_message_is_damage(tmp_path: Path) -> None:
    """Regression: an AttributeError made the whole report fail."""
    bag = foreign_loads(tmp_path / "bag.mcap")
    assert main(["report", str(bag), "--no-film"]) == 0
    assert "3 damaged messages on /dynamics/load" in Path(f"{bag}.html").read_text()


@pytest.mark.parametrize("residual", [1e200, -1e200, float("inf")])
def test_an_implausible_residual_is_unknown(tmp_path: Path, residual: float) -> None:
    """Regression: its square was an OverflowError."""
    found = tally(recorded(Bag(load_bag(tmp_path / "bag", [{"residual": residual}] * 3))))
    assert found.known_s > 0 and np.isnan(found.peak_residuals).all()


@pytest.mark.parametrize("field", ["moments", "shares"])
def test_implausible_loads_are_unknown(tmp_path: Path, field: str) -> None:
    loads = [{field: np.full(5, 1e307)}] * 3
    found = tally(recorded(Bag(load_bag(tmp_path / "bag", loads))))
    assert not found.known_s and found.unknown_s > 0


def test_frames_that_fill_the_window_again_are_unknown(tmp_path: Path) -> None:
    """Regression: with one invalid body in 12, one half was reported as unknown."""
    stream = frames(bodies.still(bodies.arms_down(), 4.0))
    for body in stream[60::12]:
        body.valid[4] = False
    counted = tally(
        computed(Bag(body_bag(tmp_path / "bag", stream[48:])), "/hpstm/body", LiveSettings())
    )
    assert counted.summary().unknown == pytest.approx(11 / 12, abs=0.02)


def later(stream: Sequence[BodyFrame], seconds: float) -> list[BodyFrame]:
    return [replace(body, stamp=body.stamp + round(seconds * 1e9)) for body in stream]


def test_computed_loads_are_those_of_one_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: when the first person had left, the loads of the next were added to theirs."""
    still = frames(bodies.still(bodies.arms_down(), 3.0), "still")
    bag = body_bag(tmp_path / "bag", still + later(frames(bending(2.0), "<b>bending"), 5.0))
    command = ["report", str(bag), "--no-film", *LOADS]
    peaks = {}
    for person, options in (("still", []), ("<b>bending", ["--body", "<b>bending"])):
        assert main([*command, *options]) == 0
        page = (tmp_path / "bag.html").read_text()
        assert "2 people were recorded (still, &lt;b&gt;bending)" in page and "<b>bend" not in page
        printed = capsys.readouterr().out
        assert f"these are the loads of {person}; choose another with --body" in printed
        written = read_written(
            tmp_path / "bag.html",
            False,
            {"loads": {"mass": 75.0, "sex": "mean"} | ({"body": person} if options else {})},
        )
        assert written is not None
        peaks[person] = written.figures["lumbar_peak_percent"]
    assert peaks["still"] < 5 < 20 < peaks["<b>bending"]
    assert main([*command, "--body", "nobody"]) == 2
    assert "no body 'nobody'; it contains still, <b>bending" in capsys.readouterr().err


def test_recorded_loads_are_those_of_one_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: the loads of everyone were added."""
    loads = [{**shares(0.3), "body_id": "a"}] * 60 + [{**shares(0.9), "body_id": "b"}] * 30
    bag = load_bag(tmp_path / "bag", loads)
    for person, peak in (("a", 30), ("b", 90)):
        assert main(["report", str(bag), "--no-film", "--body", person]) == 0
        printed = capsys.readouterr().out
        assert "2 people were recorded (a, b)" in printed
        assert f"lumbar: peak {peak} Nm" in printed
    assert main(["report", str(bag), "--no-film"]) == 0
    assert "these are the loads of a;" in capsys.readouterr().out
