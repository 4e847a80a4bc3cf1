"""`pallas report`: a page about one recorded session, or a table over many."""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pallas_ros.body.errors import PallasError
from pallas_ros.view.report import Written, write_index, write_report

HELP = "Write one self-contained HTML page about a bag, or about every bag of a folder."

EXAMPLE = """\
examples:
  pallas report recordings/monday
      recordings/monday.html: rates, latency, confidence, joints, events, pictures, a film
  pallas report recordings -o reports
      a page a bag and reports/index.html, over all cores
  pallas report recordings/monday --no-film       quicker, smaller"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("bag", type=Path, help="rosbag2 folder, .mcap, .db3, or a folder of those")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="page to write (default: beside the bag); for many bags a folder",
    )
    parser.add_argument("--no-film", action="store_true", help="without the film")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="bags at a time (default: one a core)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the page or pages."""
    if args.jobs < 1:
        raise PallasError(f"--jobs {args.jobs}: give 1 or more")
    bags = find_bags(args.bag)
    if bags == [args.bag]:
        whole = args.bag.resolve()
        page = args.output or whole.with_name(f"{whole.name}.html")
        if page.is_dir():
            page = page / f"{whole.name}.html"
        with tqdm(unit=" messages", leave=False, delay=1, disable=None) as bar:

            def progress(done: int, of: int) -> None:
                bar.total = of
                bar.update(done - bar.n)

            written = write_report(args.bag, page, not args.no_film, progress)
        print(
            f"{written.page}: {written.page.stat().st_size / 1e6:.1f} MB,"
            f" {written.figures['duration_s']:.1f} s of recording"
        )
        if written.damage:
            print(f"pallas: {args.bag}: {written.damage}; what is whole is shown", file=sys.stderr)
        return 0
    folder = args.output or args.bag
    rows: dict[str, Written | str] = {}
    with ProcessPoolExecutor(args.jobs) as pool:
        pages = page_names(bags, args.bag, folder)
        jobs = {pool.submit(partial(_one, bag, pages[bag], not args.no_film)): bag for bag in bags}
        for job in tqdm(as_completed(jobs), total=len(jobs), unit="bag", leave=False):
            rows[str(jobs[job].relative_to(args.bag))] = job.result()
    write_index(rows, folder / "index.html")
    failed = sum(isinstance(row, str) for row in rows.values())
    print(
        f"{folder / 'index.html'}: {len(rows) - failed} bags"
        + (f", {failed} not readable" if failed else "")
    )
    return 2 if failed == len(rows) else 0


def find_bags(path: Path) -> list[Path]:
    """``path`` where it is a bag itself, else the bags below it.

    Raises:
        PallasError: there is none.
    """
    if not path.is_dir() or any(path.glob("*.mcap")) or any(path.glob("*.db3")):
        return [path]
    found = {file.parent for kind in ("*/**/*.mcap", "*/**/*.db3") for file in path.glob(kind)}
    bags = sorted(bag for bag in found if found.isdisjoint(bag.parents))  # not what one keeps
    if not bags:
        raise PallasError(f"{path}: no bag is in it or below it")
    return bags


def page_names(bags: list[Path], root: Path, folder: Path) -> dict[Path, Path]:
    """The page of each bag below ``root``: in ``folder`` where the bag is below ``root``, no two
    the same, none the index.
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


def _one(bag: Path, page: Path, film: bool) -> Written | str:
    try:
        return write_report(bag, page, film)
    except PallasError as error:
        return str(error)
