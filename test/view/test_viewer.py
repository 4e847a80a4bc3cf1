"""The web viewer in Debian's Chromium: it loads, moves, follows the time line, survives the graph going away; and its door."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("viser", reason="needs the extra [view]")
sys.path.insert(0, str(Path(__file__).parent))

from browser import CHROMIUM, Browser

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import save_motion
from pallas_ros.imu.motions import demo_motion
from pallas_ros.view.access import Gate
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
    """The part of the page where the figure is, without the controls."""
    return browser.picture()[:, :600].astype(int)


MARK_PLAY = """(() => { const box = [...document.querySelectorAll('input[type=checkbox]')].find(e => e.getBoundingClientRect().top > 0);
if (box) box.setAttribute('data-play', ''); return !!box })()"""  # the first box that shows; the others are viser's own, folded away


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


def test_the_recording_gives_the_frame_that_was_asked_for(motion_file: Path) -> None:
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
    assert "give --token" in run.stderr


@pytest.fixture
def inner() -> Iterator[int]:
    """A server on this machine that answers every request."""
    import http.server
    import threading

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"inside")

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def get(address: str, **headers: str) -> tuple[int, str, str]:
    """Status, text and cookie of a request that follows no redirect."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    opener = urllib.request.build_opener(Stay, urllib.request.ProxyHandler({}))
    try:
        answer = opener.open(urllib.request.Request(address, headers=headers), timeout=10)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers.get("Set-Cookie", "")
    return answer.status, answer.read().decode(), ""


def test_the_door_opens_for_the_token_alone(inner: int) -> None:
    gate = Gate("127.0.0.1", 0, inner, "abcd1234efgh")
    base = f"http://127.0.0.1:{gate.port}/"
    try:
        assert get(base)[0] == 403
        assert get(base + "?token=wrong")[0] == 403
        assert get(base, Cookie="pallas_token=wrong")[0] == 403
        status, _, cookie = get(base + "?token=abcd1234efgh")
        assert status == 302
        assert "HttpOnly" in cookie
        assert get(base, Cookie=cookie.split(";")[0])[:2] == (200, "inside")
        with socket.create_connection(("127.0.0.1", gate.port)) as raw:
            raw.sendall(os.urandom(200) + b"\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 403")
    finally:
        gate.close()


@pytest.mark.parametrize("token", ["", "short", "with spaces here", "semi;colon;semi"])
def test_a_weak_token_is_refused(token: str) -> None:
    with pytest.raises(PallasError, match="8 or more letters and digits"):
        Gate("127.0.0.1", 0, 1, token)


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
            message, stop = body_to_msg(body(remarks=("here I am",))), threading.Event()

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
    from pallas_ros.view.viewer import SENT_M, SENT_TURN, Viewer

    recording, viewer = MotionFile(motion_file), Viewer("127.0.0.1", 0, Skeleton.from_height(1.75))
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
        assert not any(handle.visible for handle in viewer._body.handles)
    finally:
        viewer.close()
