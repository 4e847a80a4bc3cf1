"""Cost of viewing in Debian's Chromium: first load of a report, and CPU share of the viewer of the
live graph.

    python benchmarks/bench_view.py page out/demo/bag.html
    python benchmarks/bench_view.py live --seconds 30

`page` repeatedly opens the page in a new browser, and an empty page for comparison, and
measures the time to the load event (everything initially visible is decoded). `live` runs the
demo graph, opens `pallas view` in a browser, and measures the CPU time of the viewer process,
which is meaningful even on a busy machine; that of the browser is not included.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "view"))
from browser import Browser

PALLAS = [sys.executable, "-m", "pallas_ros.cli"]
TICK = os.sysconf("SC_CLK_TCK")
LOADED = "performance.getEntriesByType('navigation')[0]?.loadEventEnd || 0"


def first_load_ms(page: Path) -> float:
    """Return the time from the request for ``page`` to its load event in a newly started
    browser.
    """
    browser = Browser((1200, 900))
    try:
        browser.open(page.resolve().as_uri())
        return float(browser.until(lambda: browser.ask(LOADED), 120))
    finally:
        browser.close()


def page(path: Path, times: int) -> None:
    """Print the median first load time of a page and of an empty one."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.html"
        empty.write_text("<!doctype html><title>empty</title>")
        for name, file in ((str(path), path), ("an empty page", empty)):
            loads = [first_load_ms(file) for _ in range(times)]
            spread = f"{min(loads):.0f} to {max(loads):.0f}"
            print(
                f"{name}: {file.stat().st_size / 1e6:.1f} MB, first load"
                f" {statistics.median(loads):.0f} ms ({spread}, {times} times)"
            )


def processor_s(process: int) -> float:
    """Return the processor time in s of a process and its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def live(seconds: float) -> None:
    """Print the viewer's CPU share, with and without a browser."""
    os.environ.update(ROS_DOMAIN_ID="98", ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
    with tempfile.TemporaryDirectory() as folder:
        graph = subprocess.Popen(
            [*PALLAS, "up"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
        )
        viewer = subprocess.Popen(
            [*PALLAS, "view", "--port", "0"], stdout=subprocess.PIPE, text=True
        )
        assert viewer.stdout is not None
        browser = None
        try:
            address = next(line for line in viewer.stdout if line.startswith("http://")).split()[0]
            browser = Browser((1280, 887))
            browser.open(address)
            browser.until(
                lambda: len(browser.words) > 0 and "waiting for the graph" not in browser.words, 300
            )
            report("shown in one browser", viewer.pid, seconds)
            browser.close()
            browser = None
            report("with no browser open", viewer.pid, seconds)
        finally:
            if browser is not None:
                browser.close()
            for process in (viewer, graph):
                process.send_signal(signal.SIGINT)
                process.wait(60)


def report(what: str, process: int, seconds: float) -> None:
    """Print the CPU share of ``process`` over ``seconds``."""
    before = processor_s(process)
    begun = time.monotonic()
    time.sleep(seconds)
    share = (processor_s(process) - before) / (time.monotonic() - begun)
    print(
        f"viewer, {what}: {100 * share:.1f} % of a core over {seconds:.0f} s (load"
        f" {os.getloadavg()[0]:.1f})",
        flush=True,
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("page", "live"))
    parser.add_argument("page", type=Path, nargs="?")
    parser.add_argument("--times", type=int, default=5, help="loads of each page (default: 5)")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="to measure the viewer for (default: 30)"
    )
    args = parser.parse_args()
    if args.what == "live":
        live(args.seconds)
    elif args.page is None or not args.page.is_file():
        parser.error("page: give the HTML file, made by `pallas report BAG`")
    else:
        page(args.page, args.times)


if __name__ == "__main__":
    main()
