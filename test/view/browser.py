"""Headless Chromium from Debian, controlled by its debugging protocol: open a page, query it and
take pictures.
"""

import base64
import io
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from websockets.sync.client import connect

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --use-gl=angle --use-angle=swiftshader"
    " --enable-unsafe-swiftshader --ignore-gpu-blocklist --remote-debugging-port=0 --mute-audio"
)


class Browser:
    """One page in a headless Chromium."""

    def __init__(self, size: tuple[int, int] = (900, 560)) -> None:
        """Start it with an empty profile."""
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        flags = [
            *FLAGS.split(),
            f"--user-data-dir={self._profile}",
            f"--window-size={size[0]},{size[1]}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            [str(CHROMIUM), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        file = Path(self._profile) / "DevToolsActivePort"
        self.until(lambda: file.exists() and len(file.read_text().split()) > 1, 60)
        port, _ = file.read_text().split()
        import urllib.request

        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self._socket = connect(address, max_size=1 << 26)
        self._number = 0

    def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait until ``condition`` is true; return its value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.05)
        return value

    def call(self, method: str, **arguments: Any) -> Any:
        """Send a command of the debugging protocol."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": arguments}))
        while True:
            answer = json.loads(self._socket.recv(timeout=150))
            if answer.get("id") == self._number:
                return answer.get("result", answer)

    def open(self, address: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=address)

    def ask(self, expression: str) -> Any:
        """Evaluate JavaScript in the page."""
        return (
            self.call("Runtime.evaluate", expression=expression, returnByValue=True)
            .get("result", {})
            .get("value")
        )

    def place(self, selector: str) -> tuple[float, float, float, float] | None:
        """Return left, top, width and height in pixels of the first element matching ``selector``,
        or None.
        """
        found = self.ask(
            f"(() => {{const e = document.querySelector({json.dumps(selector)}); if (!e) return"
            " null; e.scrollIntoView({block: 'nearest'});const r = e.getBoundingClientRect();"
            " return [r.left, r.top, r.width, r.height]})()"
        )
        return None if found is None else tuple(found)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 8) -> None:
        """Press the mouse at ``start``, move it to ``end`` and release it."""
        button = {"button": "left", "buttons": 1, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], **button)
        for step in range(1, steps + 1):
            x, y = (a + (b - a) * step / steps for a, b in zip(start, end))
            self.call(
                "Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1
            )
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], **button)

    @property
    def words(self) -> str:
        """Return the text of the page."""
        return str(self.ask("document.body ? document.body.innerText : ''") or "")

    def picture(self) -> np.ndarray:
        """Return an image of the page, (height, width, 3)."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)
