"""The web viewer in Debian's Chromium: it loads, moves, follows the timeline, survives the end of
the graph; and access control.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("viser", reason="needs the extra [view]")
sys.path.insert(0, str(Path(__file__).parent))

from browser import CHROMIUM, Browser

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import save_motion
from pallas_ros.body.names import JOINTS
from pallas_ros.cli import main
from pallas_ros.imu.motions import demo_motion
from pallas_ros.view.access import Access
from pallas_ros.view.moments import MotionFile

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")


@pytest.fixture
def motion_file(tmp_path: Path) -> Path:
    save_motion(tmp_path / "motion.npz", demo_motion(12.0))
    return tmp_path / "motion.npz"


class Server:
    """`pallas view` as a process."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pallas_ros.cli", "view", *arguments, "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = next(
            line for line in self.process.stdout if line.startswith("http://")
        ).split()[0]

    def close(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=20)


@pytest.fixture
def browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


def body_picture(browser: Browser) -> np.ndarray:
    """Return the part of the page that shows the body, without the controls."""
    return browser.picture()[:, :600].astype(int)


MARK_PLAY = """(() => { const box = [...document.querySelectorAll('input[type=checkbox]')].find(e => e.getBoundingClientRect().top > 0);
if (box) box.setAttribute('data-play', ''); return !!box })()"""  # the first box that shows; the others are viser's own, folded away  # noqa: E501


def middle(browser: Browser, selector: str) -> tuple[float, float]:
    left, top, width, height = browser.until(lambda: browser.place(selector))
    return left + width / 2, top + height / 2


def slider_value(browser: Browser) -> float:
    return float(
        browser.ask("document.querySelector('[role=slider]').getAttribute('aria-valuenow')") or -1
    )


@needs_chromium
@pytest.mark.timeout(240)
def test_a_motion_file_loads_moves_and_scrubs(motion_file: Path, browser: Browser) -> None:
    server = Server(str(motion_file))
    try:
        browser.open(server.address)
        browser.until(lambda: browser.ask("!!document.querySelector('canvas')"), 90)
        browser.until(lambda: body_picture(browser).std() > 5, 90)
        first = body_picture(browser)
        browser.until(lambda: np.abs(body_picture(browser) - first).max() > 60, 90)
        assert "play" in browser.words

        browser.until(lambda: browser.ask(MARK_PLAY))
        pause = middle(browser, "[data-play]")
        browser.drag(pause, pause)
        browser.until(lambda: browser.ask("document.querySelector('[data-play]').checked") is False)
        left, top, width, height = browser.until(lambda: browser.place(".mantine-Slider-track"))
        for share in (0.75, 0.25):
            shown = body_picture(browser)
            browser.drag(
                middle(browser, ".mantine-Slider-thumb"), (left + share * width, top + height / 2)
            )
            browser.until(lambda share=share: abs(slider_value(browser) - share * 12.0) < 0.1)
            browser.until(lambda shown=shown: np.abs(body_picture(browser) - shown).max() > 60, 90)
            assert slider_value(browser) == pytest.approx(
                share * 12.0, abs=0.1
            )  # paused, it stays where it was let go
    finally:
        assert server.close() == 0


def test_the_recording_returns_the_requested_frame(motion_file: Path) -> None:
    recording = MotionFile(motion_file)
    motion = demo_motion(12.0)
    for index in (0, 100, len(motion) - 1):
        moment = recording.at(index / motion.fps)
        assert moment.body is not None
        np.testing.assert_allclose(moment.body[:, :3], motion.positions[index], atol=1e-5)
    assert recording.at(1e9).body is not None


def test_another_address_wants_a_token(motion_file: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pallas_ros.cli",
        "view",
        str(motion_file),
        "--host",
        "0.0.0.0",
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2
    assert "add --token" in run.stderr


def get(address: str, **headers: str) -> tuple[int, str, str]:
    """Return status, text and cookie of a request without following redirects."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    opener = urllib.request.build_opener(Stay, urllib.request.ProxyHandler({}))
    try:
        answer = opener.open(urllib.request.Request(address, headers=headers), timeout=10)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers.get("Set-Cookie", "")
    return answer.status, answer.read().decode(), ""


ADDRESS = "127.0.0.1:8080"


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"Host": ADDRESS}, True),
        ({"Host": "localhost:9000"}, True),  # an SSH tunnel from another port
        ({"Host": "[::1]:8080", "Origin": "http://[::1]:8080"}, True),
        ({"Host": ADDRESS, "Origin": f"http://{ADDRESS}"}, True),
        ({"Host": ADDRESS, "Origin": "https://evil.example"}, False),
        ({"Host": ADDRESS, "Origin": "http://127.0.0.1:3000"}, False),
        ({"Host": ADDRESS, "Origin": "http://127.0.0.1:8080.evil.example"}, False),
        ({"Host": ADDRESS, "Origin": "null"}, False),
        ({"Host": ADDRESS, "Origin": "http://[::1"}, False),
        ({"Host": "evil.example"}, False),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, False),
        ({"Host": "localhost.evil.example:8080"}, False),
        ({"Host": "192.168.1.5:8080"}, False),  # it listens on this machine only
        ({"Host": "[::1"}, False),
        ({"Host": ""}, False),
        ({}, False),
    ],
)
def test_only_pages_of_the_viewer_itself_are_let_in(headers: dict[str, str], passes: bool) -> None:
    assert Access("127.0.0.1").judge("/", headers.items()).passed is passes


def test_an_open_viewer_answers_to_the_names_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Regression: it refused the name with its domain."""
    monkeypatch.setattr(socket, "gethostname", lambda: "robot")
    monkeypatch.setattr(socket, "getfqdn", lambda: "Robot.lan")
    access = Access("0.0.0.0")
    for name in ("robot", "robot.local", "robot.lan", "ROBOT.LAN"):
        assert access.judge("/", [("Host", f"{name}:8080")]).passed
    assert not access.judge("/", [("Host", "robot.lan.evil.example:8080")]).passed


def test_two_hosts_are_none() -> None:
    headers = [("Host", ADDRESS), ("host", "evil.example")]
    assert not Access("127.0.0.1").judge("/", headers).passed


def test_the_token_alone_opens_to_the_network() -> None:
    access = Access("0.0.0.0", "abcd1234efgh")
    host = ("Host", "192.168.1.5:8080")
    for path in ("/", "/?token=wrong", "/?token=", "//[", "/?token=abcd1234efghi"):
        assert access.judge(path, [host]).status == 403
    assert access.judge("/", [host, ("Cookie", "pallas_token=wrong")]).status == 403
    assert access.judge("/?token=abcd1234efgh", [("Host", "evil.example")]).status == 403
    welcome = access.judge("/?token=abcd1234efgh", [host])
    assert welcome.status == 302
    cookie = welcome.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert access.judge("/", [host, ("Cookie", cookie.split(";")[0])]).passed
    foreign = [host, ("Cookie", cookie.split(";")[0]), ("Origin", "https://evil.example")]
    assert not access.judge("/", foreign).passed


@pytest.mark.parametrize("token", ["short", "with spaces here", "semi;colon;semi", "éééééééé"])
def test_a_weak_token_is_refused(token: str) -> None:
    with pytest.raises(PallasError, match="8 or more letters and digits"):
        Access("127.0.0.1", token)


def test_an_address_of_another_machine_is_one_sentence(motion_file: Path) -> None:
    command = [sys.executable, "-m", "pallas_ros.cli", "view", str(motion_file)]
    run = subprocess.run(
        [*command, "--host", "192.0.2.1", "--token", "auto"], capture_output=True, text=True
    )
    assert run.returncode == 2
    assert "cannot listen on 192.0.2.1" in run.stderr


@pytest.mark.parametrize("start", ["nan", "inf", "-1"])
def test_a_start_without_a_time_is_one_sentence(
    start: str, motion_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", str(motion_file), "--port", "0", f"--start={start}"]) == 2
    assert f"--start {start}: give 0 s or more" in capsys.readouterr().err


def listening(process: int) -> set[int]:
    """The TCP ports that a process listens on."""
    sockets = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(entry))
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                ports.add(int(fields[1].split(":")[1], 16))
    return ports


def test_with_a_token_every_port_wants_it(motion_file: Path) -> None:
    server = Server(str(motion_file), "--token", "abcd1234efgh")
    try:
        port = urlsplit(server.address).port
        assert listening(server.process.pid) == {port}
        base = f"http://127.0.0.1:{port}/"
        assert get(base)[0] == 403
        status, _, cookie = get(server.address)
        assert status == 302
        status, page, _ = get(base, Cookie=cookie.split(";")[0])
        assert status == 200
        assert "<html" in page
    finally:
        assert server.close() == 0


def test_the_running_server_refuses_the_sockets_of_other_pages(motion_file: Path) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    server = Server(str(motion_file))
    try:
        port = urlsplit(server.address).port
        for other in ("https://evil.example", f"http://evil.example:{port}", "null"):
            with pytest.raises(InvalidStatus, match="403"):
                connect(f"ws://127.0.0.1:{port}", origin=other)  # type: ignore[arg-type]
        with pytest.raises(InvalidStatus, match="403"):
            connect(
                f"ws://evil.example:{port}",
                sock=socket.create_connection(("127.0.0.1", port)),
            )
    finally:
        assert server.close() == 0


TUNNEL = """
import sys, viser._viser
class Tunnel:
    def __init__(self, *_): print("tunnel wanted", flush=True)
viser._viser.ViserTunnel = Tunnel
from pallas_ros.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_invalid_requests_are_reported_in_a_line(motion_file: Path) -> None:
    import msgspec
    import viser
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    command = [sys.executable, "-c", TUNNEL, "view", str(motion_file), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    address = next(line for line in process.stdout if line.startswith("http://")).split()[0]
    port = urlsplit(address).port
    assert port
    host = f"Host: 127.0.0.1:{port}\r\n".encode()
    wrong = [
        os.urandom(200) + b"\r\n\r\n",
        b"GET //[ HTTP/1.1\r\n" + host + b"\r\n",
        b"GET /%zz HTTP/1.1\r\n" + host + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: [\r\n\r\n",
        b"GET /../../../etc/passwd HTTP/1.1\r\n" + host + b"\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\n" + host + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ]
    try:
        for data in wrong:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
            ):
                raw.sendall(data)
                assert b"root:" not in raw.recv(1 << 16)
        protocols = [f"viser-v{viser.__version__}"]
        for message in (
            "text",
            b"",
            b"\xff" * 50,
            msgspec.msgpack.encode({"type": "NoSuchMessage"}),
            msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": "x", "updates": 5}),
            msgspec.msgpack.encode({"type": "ShareUrlRequest"}),
            b"x" * (1 << 20),
        ):
            with connect(f"ws://127.0.0.1:{port}", subprotocols=protocols, max_size=None) as ws:
                ws.recv()
                with contextlib.suppress(ConnectionClosed):
                    ws.send(message)
                    time.sleep(0.3)
        assert get(f"http://127.0.0.1:{port}/")[0] == 200
    finally:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[0]
    assert process.returncode == 0
    assert "Traceback" not in said
    assert "tunnel" not in said
    lines = [line for line in said.splitlines() if "Server stopped" not in line]
    assert all(line.startswith("pallas: ") for line in lines), said
    assert len(lines) <= len(wrong) + 7


@needs_chromium
@pytest.mark.ros
@pytest.mark.timeout(240)
def test_live_it_waits_shows_and_waits_again(
    ros_domain: int, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    rclpy = pytest.importorskip("rclpy")
    from pallas.msg import BodyPose
    from test_human import body

    from pallas_ros.messages.encode import body_to_msg
    from pallas_ros.ros.qos import STREAM

    server = Server()
    waiting = "waiting for the graph"
    rclpy.init()
    try:
        browser.open(server.address)
        browser.until(
            lambda: waiting in (browser.ask("document.body && document.body.innerText") or ""), 90
        )
        for _ in range(2):
            node = rclpy.create_node("source")
            publisher = node.create_publisher(BodyPose, "/pallas/body", STREAM)
            message = body_to_msg(body(remarks=("here I am",)))
            stop = threading.Event()

            def publish(
                publisher: Any = publisher, message: Any = message, stop: Any = stop
            ) -> None:
                while not stop.wait(0.02):
                    publisher.publish(message)

            thread = threading.Thread(target=publish)
            thread.start()
            browser.until(
                lambda: (
                    "here I am" in (browser.ask("document.body && document.body.innerText") or "")
                ),
                60,
            )
            stop.set()
            thread.join()
            node.destroy_node()
            browser.until(
                lambda: waiting in (browser.ask("document.body && document.body.innerText") or ""),
                60,
            )
    finally:
        rclpy.shutdown()
        assert server.close() == 0


def test_what_the_browser_holds_is_the_frame_though_only_changes_are_sent(
    motion_file: Path,
) -> None:
    from pallas_ros.body.skeleton import Skeleton
    from pallas_ros.view.placed import SENT_M, SENT_TURN
    from pallas_ros.view.viewer import Viewer

    recording = MotionFile(motion_file)
    viewer = Viewer("127.0.0.1", 0, Skeleton.from_height(1.75))
    try:
        for time in (0.0, 3.0, 3.05, 9.0, 2.0):
            moment = recording.at(time)
            viewer.show(moment)
            assert moment.body is not None
            held = [
                (*handle.position, *handle.wxyz[[1, 2, 3, 0]]) for handle in viewer._body.handles
            ]
            off = np.abs(
                np.array(held)
                - moment.body
                - np.append([-moment.body[0, 0], -moment.body[0, 1]], np.zeros(5))
            )
            assert off[:, :3].max() <= SENT_M + 1e-9
            assert off[:, 3:].max() <= SENT_TURN + 1e-9
            assert all(handle.visible for handle in viewer._body.handles)
        assert moment.body is not None
        moment.body[3, 0] = np.nan
        viewer.show(moment)
        shown = [handle.visible for handle in viewer._body.handles]  # regression: none, silently
        assert shown == [joint != 3 for joint in range(len(shown))]
        assert f"not known: {JOINTS[3]}" in viewer._words.content
        moment.body[:] = np.nan
        viewer.show(moment)
        assert not any(handle.visible for handle in viewer._body.handles)
        assert "no joint is known" in viewer._words.content
    finally:
        viewer.close()


def test_a_token_that_is_not_utf8_is_refused() -> None:
    """Regression: comparing it raised UnicodeEncodeError."""
    access = Access("127.0.0.1", "abcd1234efgh")
    headers = [("Host", "127.0.0.1:80"), ("Cookie", "pallas_token=abcd\udcff")]
    assert access.judge("/", headers).status == 403
    assert access.judge("/?token=abcd\udcff", headers).status == 403
