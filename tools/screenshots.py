"""Make every picture of README and docs/guide/viewing.md from one bag: `.venv/bin/python
tools/screenshots.py out/demo/bag [film|report|viewer ...]`.

Writes docs/images/demo.gif (operator and arm), report.png (top of `pallas report`) and viewer.png
(`pallas view`); the last two with Debian's Chromium.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "test" / "view"))
CLOSE_NOTICE = (
    "(() => { const e = document.querySelector('.mantine-Notification-closeButton'); if (e)"
    " e.click(); return !!e })()"
)
"""Close viser's notice that WebGL runs without a graphics card, which does not apply to readers.
"""


def shrink(picture: np.ndarray, path: Path, colours: int = 160) -> None:
    """Return a picture as a small PNG."""
    Image.fromarray(picture).quantize(colours).save(path, optimize=True)


def film(bag: Path) -> None:
    """Record six seconds of the operator beside the arm."""
    from pallas_ros.view.figure import write_clip
    from pallas_ros.view.moments import BagFile
    from pallas_ros.view.report import frames
    from pallas_ros.view.robot import RobotShape

    recording = BagFile(bag)
    robot = (
        RobotShape.parse(recording.robot.encode(), Path.cwd(), "robot description", detail_m=0.006)
        if recording.robot
        else None
    )
    times = np.arange(max(recording.duration - 7.0, 0.0), recording.duration, 1 / 8)
    write_clip(IMAGES / "demo.gif", frames(recording, robot, times, (560, 320)), 8)


def report(bag: Path) -> None:
    """Capture the top of the report page."""
    from browser import Browser

    from pallas_ros.view.report import write_report

    with tempfile.TemporaryDirectory() as folder:
        page = write_report(bag, Path(folder) / "report.html", film=False).page
        browser = Browser((1180, 1000))
        browser.open(page.as_uri())
        browser.until(
            lambda: browser.ask("document.readyState == 'complete' && document.images[0].complete"),
            180,
        )
        shrink(browser.picture(), IMAGES / "report.png")
        browser.close()


def viewer(bag: Path) -> None:
    """Capture the viewer at an instant of the bag, with filled charts."""
    from browser import Browser

    command = [
        sys.executable,
        "-m",
        "pallas_ros.cli",
        "view",
        str(bag),
        "--port",
        "0",
        "--start",
        "15",
        "--paused",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = next(line for line in process.stdout if line.startswith("http://")).split()[0]
        browser = Browser((1280, 887))
        browser.open(address)
        browser.until(lambda: browser.ask(CLOSE_NOTICE), 180)
        browser.until(lambda: browser.ask("document.querySelectorAll('.uplot').length") >= 6, 180)
        before = None
        now = browser.picture()
        while before is None or (before != now).any():
            # the scene fades in, slowly without a GPU
            time.sleep(4)
            before = now
            now = browser.picture()
        shrink(now, IMAGES / "viewer.png")
        browser.close()
        process.terminate()


if __name__ == "__main__":
    makers = {"film": film, "report": report, "viewer": viewer}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bag", type=Path, help="a bag of the demo")
    parser.add_argument(
        "pictures", nargs="*", metavar="film|report|viewer", help="pictures to make (default: all)"
    )
    args = parser.parse_args()
    for name in set(args.pictures) - set(makers):
        parser.error(f"there is no picture '{name}': {', '.join(makers)}")
    for name in args.pictures or makers:
        makers[name](args.bag)
        print(name, flush=True)
