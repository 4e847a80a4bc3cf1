"""`pallas report`: write a page about a recorded session, or a table of many."""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pallas_ros.archive import Workers, find_bags, is_newer, run_tasks
from pallas_ros.archive.finding import MOTION_SUFFIXES
from pallas_ros.archive.options import add_worker_options, workers_from
from pallas_ros.body.errors import PallasError
from pallas_ros.files.overwriting import check_outputs
from pallas_ros.view import sections
from pallas_ros.view.page import Written, read_written, write_index
from pallas_ros.view.report import write_report

HELP = "Write a self-contained HTML report of a bag, a motion file, or every bag in a folder."

EXAMPLE = """\
examples:
  pallas report recordings/monday
      recordings/monday.html: rates, latency, confidence, joints, events, pictures, a video
  pallas report recordings -o reports
      one page per bag and reports/index.html, on all cores; an interrupted run resumes
  pallas report wave.npz
      wave.html: pictures, a video; for generated motion also its request, score and candidates
  pallas report recordings/monday --no-film       quicker, smaller
  pallas report recordings/monday --loads --mass 75
      also the loads on the operator's back, shoulders and knees, computed from the bodies"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "bag", type=Path, help="rosbag2 folder, .mcap, .db3, a folder of those, or a motion file"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="page to write (default: beside the bag); for a folder, a folder",
    )
    parser.add_argument("--no-film", action="store_true", help="omit the video")
    parser.add_argument(
        "--again",
        action="store_true",
        help="for a folder: also rewrite pages that are newer than their bag",
    )
    sections.add_options(parser)
    add_worker_options(parser)


def run(args: argparse.Namespace) -> int:
    """Write the page or pages."""
    workers = workers_from(args)
    args.bag = workers.place(args.bag)
    args.output = args.output and workers.place(args.output)
    options = sections.options_from(args)
    if args.bag.suffix.lower() in MOTION_SUFFIXES:
        if options:
            raise PallasError(
                f"{args.bag}: the options of {', '.join(options)} apply to bags only; for the"
                " loads in a motion file, run `pallas dynamics IN OUT --mass KG --report HTML`"
            )
        return _write_motion(args)
    bags = find_bags(args.bag)
    if bags == [args.bag]:
        whole = args.bag.resolve()
        page = args.output or whole.with_name(f"{whole.name}.html")
        if page.is_dir():
            page = page / f"{whole.name}.html"
        check_outputs([page], [args.bag])
        with tqdm(unit=" messages", leave=False, delay=1, disable=None) as bar:

            def progress(done: int, of: int) -> None:
                bar.total = of
                bar.update(done - bar.n)

            written = write_report(args.bag, page, not args.no_film, progress, options)
        for words in written.lines:
            print(f"  {words}")
        print(
            f"{written.page}: {written.page.stat().st_size / 1e6:.1f} MB,"
            f" {written.figures['duration_s']:.1f} s of recording"
        )
        if written.damage:
            print(
                f"pallas: {args.bag}: {written.damage}; intact messages are shown", file=sys.stderr
            )
        return 0
    return _write_all(args, bags, workers, options)


def _write_motion(args: argparse.Namespace) -> int:
    """Write the page of a motion file."""
    from pallas_ros.view.motion_report import write_motion_report

    page = args.output or args.bag.with_suffix(".html")
    if page.is_dir():
        page = page / f"{args.bag.stem}.html"
    check_outputs([page], [args.bag])
    written = write_motion_report(args.bag, page, not args.no_film)
    print(f"{written.page}: {written.figures['duration_s']:.1f} s of motion")
    return 0


def _write_all(
    args: argparse.Namespace,
    bags: list[Path],
    workers: Workers,
    options: dict[str, dict[str, Any]],
) -> int:
    """Write a page for each bag, unless it exists, and the table."""
    folder = args.output or args.bag
    pages = page_names(bags, args.bag, folder)
    jobs = [Page(bag, pages[bag], not args.no_film, options) for bag in bags]
    rows: dict[str, Written | str] = {}
    for job in jobs:
        if not args.again and (before := written_before(job)):
            rows[str(job.bag.relative_to(args.bag))] = before
    left = [job for job in jobs if str(job.bag.relative_to(args.bag)) not in rows]
    for outcome in run_tasks(left, write_page, workers, "report", "bag"):
        bag = str(outcome.job.bag.relative_to(args.bag))
        rows[bag] = outcome.error if outcome.result is None else outcome.result
    write_index(rows, folder / "index.html")
    failed = sum(isinstance(row, str) for row in rows.values())
    before_count = len(jobs) - len(left)
    print(
        f"{folder / 'index.html'}: {len(rows) - failed} bags"
        + (f", {before_count} pages existed already" if before_count else "")
        + (f", {failed} unreadable" if failed else "")
    )
    return 2 if failed == len(rows) else 0


@dataclass(frozen=True)
class Page:
    """A page to write: its bag, output path, whether to include the video, and the options of its
    sections.
    """

    bag: Path
    page: Path
    film: bool
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        """Name used in messages."""
        return str(self.bag)


def write_page(job: Page) -> Written:
    """Write a page.

    Raises:
        PallasError: as `write_report`.
    """
    return write_report(job.bag, job.page, job.film, options=job.options)


def written_before(job: Page) -> Written | None:
    """Return the summary of a page that is newer than its bag; None if there is none."""
    if not is_newer(job.page, job.bag):
        return None
    return read_written(job.page, job.film, job.options)


def page_names(bags: list[Path], root: Path, folder: Path) -> dict[Path, Path]:
    """Return the page of each bag: in ``folder`` at the bag's path relative to ``root``.

    Names are unique, and none is the index.
    """
    taken = {"index.html"}
    pages = {}
    for bag in bags:
        place = bag.relative_to(root)
        page = place.with_name(f"{place.name}.html")
        number = 1
        while str(page).lower() in taken or (folder / page).is_dir():
            number += 1
            page = place.with_name(f"{place.name}_{number}.html")
        taken.add(str(page).lower())
        pages[bag] = folder / page
    return pages
