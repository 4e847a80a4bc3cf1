"""`pallas process`: convert an IMU recording to a motion file with the live pipeline."""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from pallas_ros.archive import Workers, find_recordings, is_bag_folder, is_newer, run_tasks
from pallas_ros.archive.options import add_worker_options, workers_from
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion_writer import MotionWriter
from pallas_ros.body.names import EXTRA_SITES, MODEL_RATE_HZ, SITES, TOPIC_IMU
from pallas_ros.body.resources import expanded, resource
from pallas_ros.files.npz import array_names, load_npz
from pallas_ros.files.overwriting import check_outputs
from pallas_ros.files.parameters import add_option, described
from pallas_ros.imu.logger_folder import is_logger_folder
from pallas_ros.pipeline import PipelineSettings
from pallas_ros.pipeline.recorded import Source as Source  # re-exported for compatibility
from pallas_ros.pipeline.recorded import open_source, process, topics_given

_PARAMETERS = described("pallas_node")

HELP = "Turn an IMU recording (.npz, rosbag2 folder or .mcap) into a motion file."

EXAMPLE = """\
examples:
  pallas process walk.npz motion.npz
  pallas process recordings/first motion.npz
      a bag; its recorded calibration is used, so the bodies equal those of the live run
  pallas process walk.npz motion.npz --calibration me.yaml --height 1.82
  pallas process session/ motion.npz --topics pelvis="Waist 6541" neck="Neck 6542" \\
      left_wrist="L 6543" right_wrist="R 6544"
      CSV files of a logger
  pallas process recordings/ motions/
      every bag of a folder; an interrupted run resumes
  pallas process mine.mcap motion.npz --topics pelvis=/imu1/data neck=/imu2/data \\
      left_wrist=/imu3/data right_wrist=/imu4/data

Recordings with calibrated=True are used as they are. For others, the calibration is the one
given with --calibration, the one recorded in the bag, or found from a still T-pose at the start."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "input",
        metavar="IN",
        help=(
            "IMU recording: .npz, rosbag2 folder, .mcap, a folder of a logger's CSV files, or a"
            " folder of bags and recordings"
        ),
    )
    parser.add_argument(
        "output", metavar="OUT", help="motion file (.npz) to write; for a folder, a folder"
    )
    parser.add_argument(
        "--calibration",
        metavar="F",
        help="calibration file to use instead of the recorded one",
    )
    parser.add_argument(
        "--from-samples",
        action="store_true",
        help="for a bag: use the raw samples, even if it contains the frames of the live run",
    )
    parser.add_argument(
        "--topics",
        nargs="+",
        default=[],
        metavar="SITE=TOPIC",
        help=(
            "for a bag: the sensor_msgs/Imu topic of each site (default: /imu/<site>); for a"
            " folder of CSV files: the folder or file of each site"
        ),
    )
    add_option(
        parser,
        "--orientation",
        _PARAMETERS["orientation"],
        "use the sensors' orientation if they send one (auto, sensor), or always estimate it"
        " (6d, 9d)",
    )
    parser.add_argument(
        "--as-is",
        action="store_true",
        help="skip the plausibility checks of a recording with calibrated=True",
    )
    add_option(parser, "--height", _PARAMETERS["height_m"], "the operator's height, m")
    parser.add_argument(
        "--segment",
        action="append",
        default=[],
        metavar="NAME=M",
        help="measured length of a segment, m (may be repeated)",
    )
    parser.add_argument(
        "--extra-sites",
        nargs="+",
        default=[],
        metavar="SITE",
        help=f"optional sensors of the recording to use: {', '.join(EXTRA_SITES)}, or all",
    )
    add_option(parser, "--model", _PARAMETERS["model"], "model file")
    add_option(parser, "--backend", _PARAMETERS["backend"], "inference backend")
    parser.add_argument(
        "--again",
        action="store_true",
        help="for a folder: also process recordings that are already done",
    )
    add_worker_options(parser)


@dataclass(frozen=True)
class Conversion:
    """A recording to convert to a motion.

    Attributes:
        input, output: the recording, and the motion file to write.
        settings: of the pipeline.
        topics: site -> topic, or sensor.
        as_is, from_samples: see the options of these names.
        extra_sites: optional sensors to use.
    """

    input: Path
    output: Path
    settings: PipelineSettings
    topics: Mapping[str, str]
    as_is: bool = False
    from_samples: bool = False
    extra_sites: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Name used in messages."""
        return str(self.input)

    def options(self) -> str:
        """The options that determine the motion, as text that the motion file keeps."""
        # without those that change the motion by rounding only
        how = replace(self.settings, backend="", threads=0)
        chosen = (self.as_is, self.from_samples, self.extra_sites)
        return json.dumps([vars(how), dict(self.topics), *chosen], sort_keys=True)


@dataclass(frozen=True)
class Converted:
    """Result of a conversion: a summary and remarks."""

    summary: str
    remarks: tuple[str, ...]


def run(args: argparse.Namespace) -> int:
    """Read, estimate and write; for a folder of recordings, each of them.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    workers = workers_from(args)
    settings = PipelineSettings(
        model=workers.named(args.model),
        backend=args.backend,
        calibration=workers.named(args.calibration or ""),
        height_m=args.height,
        segments=tuple(args.segment),
        orientation=args.orientation,
    )
    one = Conversion(
        workers.place(Path(args.input)),
        workers.place(Path(args.output)),
        settings,
        topics_given(args.topics),
        args.as_is,
        args.from_samples,
        tuple(args.extra_sites),
    )
    recordings = recordings_of(one.input)
    if one.input.is_dir() and not recordings:
        _check_single(one.input)
    if recordings:
        return _convert_all(one, recordings, workers, args.again)
    if one.output.suffix != ".npz":
        raise PallasError(f"{args.output}: a motion file ends in .npz")
    check_outputs([one.output], [one.input, args.calibration, args.model])
    done = convert(one)
    for sentence in done.remarks:
        print(f"pallas: {sentence}", file=sys.stderr)
    print(f"{one.output}: {done.summary}")
    return 0


def recordings_of(path: Path) -> list[Path]:
    """Return the recordings in a folder of several; empty for a single recording."""
    if not path.is_dir() or is_logger_folder(path) or is_bag_folder(path):
        return []
    try:
        return find_recordings(path, (".npz",))
    except PallasError:
        return []  # the message for a single recording says what is missing


def _check_single(folder: Path) -> None:
    """Check that a folder that does not contain several recordings is a single one.

    Raises:
        PallasError: it contains nothing that can be processed.
    """
    if not (is_logger_folder(folder) or is_bag_folder(folder) or any(folder.glob("*.bag"))):
        raise PallasError(
            f"{folder}: contains no recording: give an IMU recording (.npz), a bag, a folder of a"
            " logger's CSV files, or a folder with some of these"
        )


def _convert_all(one: Conversion, recordings: Sequence[Path], workers: Workers, again: bool) -> int:
    """Convert each recording into ``OUT``; skip those with a motion that was made with the same
    options and is newer than the recording, the calibration and the model.
    """
    if one.output.suffix == ".npz":
        raise PallasError(
            f"{one.output}: {len(recordings)} recordings are in {one.input}: give a folder to write"
            " their motions to"
        )
    jobs = _jobs(one, recordings)
    check_outputs([job.output for job in jobs], [job.input for job in jobs])
    used = [resource(one.settings.model)]
    if one.settings.calibration:
        used.append(expanded(one.settings.calibration))
    left = [job for job in jobs if again or not is_done(job, used)]
    failed = 0
    for outcome in run_tasks(left, convert, workers, "process"):
        if outcome.result is None:
            failed += 1
            print(f"pallas: {outcome.error}", file=sys.stderr)
            continue
        for sentence in outcome.result.remarks:
            print(f"pallas: {sentence}", file=sys.stderr)
        tqdm.write(f"{outcome.job.output}: {outcome.result.summary}")
    before = len(jobs) - len(left)
    print(
        f"{one.output}: {len(left) - failed} motions of {len(jobs)} recordings"
        + (f", {before} existed already" if before else "")
        + (f", {failed} failed" if failed else "")
    )
    return 2 if failed and failed == len(jobs) else 0


def _jobs(one: Conversion, recordings: Sequence[Path]) -> list[Conversion]:
    """The conversion of each recording. Motions of an earlier run in the same folder are skipped.

    Raises:
        PallasError: two recordings would be written to the same file.
    """
    outputs = {path: one.output / output_name(path.relative_to(one.input)) for path in recordings}
    made = {output for path, output in outputs.items() if output != path}
    sources: dict[Path, Path] = {}
    for path, output in outputs.items():
        if path in made and _is_motion(path):
            continue
        if output in sources:
            raise PallasError(
                f"{sources[output]} and {path} would both be written to {output}: rename one"
            )
        sources[output] = path
    return [replace(one, input=path, output=output) for output, path in sources.items()]


def is_done(job: Conversion, used: Sequence[Path] = ()) -> bool:
    """Whether the motion exists, was made with the same options, and is newer than the recording
    and the files ``used``.
    """
    if not is_newer(job.output, job.input, used):
        return False
    try:
        kept = load_npz(job.output, "motion file", only={"options"}).get("options")
    except PallasError:
        return False
    return kept is not None and str(kept) == job.options()


def _is_motion(path: Path) -> bool:
    try:
        return {"fps", "positions"} <= set(array_names(path, "motion file"))
    except PallasError:
        return False


def output_name(place: Path) -> Path:
    """Return the motion file of a recording, relative to the common folder."""
    name = place.name.replace(".", "_") if place.suffix != ".npz" else place.stem
    return place.with_name(f"{name}.npz")


def _other_topics(given: Mapping[str, str]) -> list[str]:
    """Return the required sites of a bag that are given another topic than that of the graph."""
    of_graph = {site: TOPIC_IMU.format(site=site) for site in SITES}
    return [site for site, topic in of_graph.items() if given.get(site, topic) != topic]


def convert(one: Conversion) -> Converted:
    """Read, estimate and write one recording.

    Raises:
        PallasError: it cannot be read, or gives no body.
    """
    source = open_source(one.input, one.topics, one.as_is, one.extra_sites)
    settings = replace(one.settings, extra_sites=source.extra_sites)
    begun = time.perf_counter()
    other = _other_topics(one.topics) if source.frames is not None else []
    found = process(source, settings, one.from_samples or bool(other))
    with MotionWriter(one.output, MODEL_RATE_HZ, one.options()) as motion:
        for body in tqdm(
            found,
            total=round(source.duration_s * MODEL_RATE_HZ),
            unit=" frames",
            leave=False,
            disable=None,
        ):
            motion.add(body)
        if source.meaningless:
            raise PallasError(f"{one.input}: {'; '.join(source.meaningless)}")
    if not motion.frames:
        raise PallasError(f"{one.input}: no body: {source.no_body_reason}")
    took = time.perf_counter() - begun
    seconds = (motion.last - motion.first) * 1e-9
    remarks = [*source.refused, *source.warnings]
    if other and not one.from_samples:
        remarks.append(
            f"--topics gives {', '.join(other)} another topic than the live run had, so the bodies"
            " come from the samples, not from the recorded frames"
        )
    if damage := source.damage():
        remarks.insert(0, f"{one.input}: {damage}; intact messages were used")
    if source.lost:
        remarks.append(
            f"{source.lost} frames of the live run are missing from the bag: the bodies after them"
            " differ slightly from the live ones"
        )
    left_out = (
        f", {motion.left_out} omitted because their stamps go back" if motion.left_out else ""
    )
    estimated = (
        f"; orientation of {', '.join(source.estimated)} estimated from gyroscope and accelerometer"
        if source.estimated
        else ""
    )
    summary = (
        f"{motion.frames} frames, {seconds:.1f} s, {seconds / took:.0f} times real"
        f" time{left_out}{estimated}"
    )
    return Converted(summary, tuple(remarks))
