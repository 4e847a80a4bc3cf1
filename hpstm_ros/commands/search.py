"""`pallas search`: find moments in recordings by text or by example."""

import argparse
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pallas_ros.archive import Workers, find_recordings, run_tasks
from pallas_ros.archive.options import add_worker_options, workers_from
from pallas_ros.bags.paths import is_bag
from pallas_ros.body.errors import PallasError
from pallas_ros.files.json_output import write_json
from pallas_ros.files.overwriting import check_outputs
from pallas_ros.motion_files import read_motion

if TYPE_CHECKING:
    from hpstm_ros.language.alignment.aligner import Aligner
    from hpstm_ros.language.search import Hit
    from hpstm_ros.language.search.ranking import Ranking

HELP = "Find moments in motion files and bags by text or by example, ranked by score."
EXAMPLE = """\
examples:
  pallas search "reaches up with the left hand" recordings
  pallas search "a person sits down" monday.mcap walk.npz --count 3 --sheet found.png
  pallas search --like wave.npz recordings --json hits.json
  pallas search "kick" recordings --open              opens the best hit in the viewer
The first search writes an index beside each recording; it is updated when the recording changes."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "query", metavar="TEXT", help="what to find, in English; with --like, a path", nargs="?"
    )
    parser.add_argument("paths", metavar="PATH", nargs="*", help="motion files, bags, folders")
    parser.add_argument("--like", metavar="F", help="find moments similar to this motion file")
    parser.add_argument("--count", type=int, default=10, help="moments to show (default: 10)")
    parser.add_argument("--json", metavar="F", help="also write the hits there")
    parser.add_argument("--sheet", metavar="F", help="write a picture of the hits (.png)")
    parser.add_argument("--open", action="store_true", help="open the best hit in the viewer")
    parser.add_argument("--rebuild", action="store_true", help="rebuild every index")
    parser.add_argument(
        "--model", default="models/alignment.onnx", help="the network (default: the released one)"
    )
    add_worker_options(parser)


def run(args: argparse.Namespace) -> int:
    """Build missing indices, rank the moments, and print them.

    Raises:
        PallasError: an argument or a recording is invalid.
    """
    from hpstm_ros.language.encoder import checked
    from hpstm_ros.language.search.ranking import Ranking

    if not 1 <= args.count <= 1000:
        raise PallasError(f"--count {args.count}: give 1 to 1000")
    if args.sheet and Path(args.sheet).suffix.lower() != ".png":
        raise PallasError(f"{args.sheet}: a picture sheet ends in .png")
    workers = workers_from(args)
    text = args.query
    paths = list(args.paths)
    if args.like is not None and text is not None:
        paths.insert(0, text)
        text = None
    if args.like is None:
        text = checked(text or "")
    if not paths:
        raise PallasError("nothing to search: give motion files, bags or folders of them")
    recordings = list(
        dict.fromkeys(
            found for path in paths for found in find_recordings(workers.place(Path(path)))
        )
    )
    check_outputs([args.json, args.sheet], [*recordings, args.like, args.model])
    aligner = _aligner(args.model)
    if text is None:
        query = aligner.motion(read_motion(args.like))
    else:
        query = aligner.texts([text])[0]
    ranking = Ranking(aligner, query, args.count, by_example=text is None)
    failed = _index(recordings, workers.named(args.model), args.rebuild, workers)
    _rank(ranking, recordings, aligner, failed)
    for sentence in failed.values():
        print(f"pallas: {sentence}", file=sys.stderr)
    if len(failed) == len(recordings):
        raise PallasError(f"none of {len(recordings)} recordings could be searched")
    hits = ranking.hits
    _report(hits, args, len(recordings) - len(failed))
    return 0


def _rank(
    ranking: "Ranking", recordings: list[Path], aligner: "Aligner", failed: dict[Path, str]
) -> None:
    """Add the recordings that did not fail to a ranking, with one index in memory at a time."""
    from hpstm_ros.language.search import open_index

    for path in recordings:
        if path in failed:
            continue
        try:
            ranking.add(open_index(path, aligner))
        except (PallasError, OSError) as error:  # it was changed or removed in the meantime
            failed[path] = str(error)


@dataclass(frozen=True)
class _Job:
    path: Path
    model: str
    rebuild: bool

    def __str__(self) -> str:
        return str(self.path)


def _index(recordings: list[Path], model: str, rebuild: bool, workers: Workers) -> dict[Path, str]:
    """Build missing indices; return the failed recordings with the reasons."""
    jobs = [_Job(path, model, rebuild) for path in recordings]
    outcomes = run_tasks(jobs, _make_index, workers, "index")
    return {outcome.job.path: outcome.error for outcome in outcomes if outcome.error}


def _make_index(job: _Job) -> int:
    from hpstm_ros.language.search import open_index

    return len(open_index(job.path, _aligner(job.model), job.rebuild).start_s)


@cache
def _aligner(model: str):  # type: ignore[no-untyped-def]
    from hpstm_ros.language.alignment.aligner import Aligner

    return Aligner(model)


def _report(hits: "list[Hit]", args: argparse.Namespace, searched: int) -> None:
    if args.json:
        document = {"hits": [hit.document() for hit in hits]}
        write_json(document, args.json)
    for rank, hit in enumerate(hits, 1):
        span = f"{hit.start_s:8.1f} to {hit.end_s:.1f} s"
        print(f"{rank:3d}  {hit.score:4.0f}  {span:20s}  {hit.path}")
    if args.sheet:
        _sheet(hits, Path(args.sheet))
    best = hits[0]
    middle = (best.start_s + best.end_s) / 2
    print(
        f"{len(hits)} moments in {searched} recordings; "
        f"look at the best: pallas view {best.path} --start {middle:.1f} --paused"
    )
    if args.open:
        from pallas_ros.cli import main

        main(["view", best.path, "--start", f"{middle:.1f}", "--paused", "--open"])


def _sheet(hits: "list[Hit]", path: Path) -> None:
    """Write a picture of each hit at the middle of its time span."""
    from pallas_ros.view.figure import write_png
    from pallas_ros.view.moments import BagFile, MotionFile
    from pallas_ros.view.sheet import Cell, picture_sheet

    cells = []
    for rank, hit in enumerate(hits, 1):
        source = Path(hit.path)
        recording = BagFile(source) if is_bag(source) else MotionFile(source)
        middle = (hit.start_s + hit.end_s) / 2
        body = recording.at(middle).body
        caption = f"{rank}: {hit.score:.0f}, {source.name} {middle:.1f} s"
        if body is None:
            cells.append(Cell(None, None, caption))
        else:
            cells.append(Cell(body[:, :3], body[:, 3:], caption))
    write_png(path, picture_sheet(cells))
    print(f"{path}: {len(cells)} pictures")
