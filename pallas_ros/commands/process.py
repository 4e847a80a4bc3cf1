"""`pallas process`: an IMU recording into a motion file, by the code that runs live."""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from pallas_ros.archive import Workers, find_recordings, is_bag_folder, is_newer, run_tasks
from pallas_ros.archive.options import add_worker_options, workers_from
from pallas_ros.bags import Bag
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.motion_writer import MotionWriter
from pallas_ros.body.names import (
    ALL_SITES,
    EXTRA_SITES,
    MODEL_RATE_HZ,
    SITES,
    TOPIC_CALIBRATION,
    TOPIC_IMU,
    TOPIC_IMU_FRAME,
    TOPIC_SENSORS,
)
from pallas_ros.body.sites import worn_sites
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.logger_folder import is_logger_folder, read_logger_folder
from pallas_ros.imu.orientation import MODES
from pallas_ros.imu.recording import ALL, load_recording
from pallas_ros.imu.sample import ImuSample
from pallas_ros.messages.decode import imu_frame_from_msg, imu_from_msg, sensors_from_msg
from pallas_ros.pipeline import PipelineSettings, read_document

HELP = "Turn an IMU recording (.npz, rosbag2 folder or .mcap) into a motion file."

EXAMPLE = """\
examples:
  pallas process walk.npz motion.npz
  pallas process recordings/first motion.npz
      a bag; its own calibration is used, so that the body is the live one
  pallas process walk.npz motion.npz --calibration me.yaml --height 1.82
  pallas process session/ motion.npz --topics pelvis="Waist 6541" neck="Neck 6542" \\
      left_wrist="L 6543" right_wrist="R 6544"
      CSV files of a logger
  pallas process recordings/ motions/
      every bag of a folder; run again, it carries on where it stopped
  pallas process mine.mcap motion.npz --topics pelvis=/imu1/data neck=/imu2/data \\
      left_wrist=/imu3/data right_wrist=/imu4/data

Recordings with calibrated=True are taken as they are. For others the calibration is the one
given, the one recorded in the bag, or it is found from
a still T-pose at the start."""

IMU = "sensor_msgs/msg/Imu"

Timed = tuple[str, ImuSample | None]
"""A site and its sample, or None for a message that could not be read as one."""


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
        "output", metavar="OUT", help="motion file (.npz) to write; of a folder, a folder"
    )
    parser.add_argument(
        "--calibration",
        metavar="F",
        help="calibration file to use instead of what the recording brings",
    )
    parser.add_argument(
        "--from-samples",
        action="store_true",
        help="of a bag take the raw samples, even where the live run's frames are in it",
    )
    parser.add_argument(
        "--topics",
        nargs="+",
        default=[],
        metavar="SITE=TOPIC",
        help=(
            "of a bag: which sensor_msgs/Imu topic is worn where (default: /imu/<site>); of a"
            " folder of CSV files: which sensor's folder or file"
        ),
    )
    parser.add_argument(
        "--orientation",
        default=PipelineSettings.orientation,
        choices=MODES,
        help="the sensors' own where they send one (auto, sensor), or always estimated (6d, 9d)",
    )
    parser.add_argument(
        "--as-is",
        action="store_true",
        help="take a recording that says it is calibrated as such, whatever its numbers look like",
    )
    parser.add_argument(
        "--height",
        type=float,
        default=PipelineSettings.height_m,
        metavar="M",
        help="the operator's height, m",
    )
    parser.add_argument(
        "--segment",
        action="append",
        default=[],
        metavar="NAME=M",
        help="a segment's measured length, m (repeat)",
    )
    parser.add_argument(
        "--extra-sites",
        nargs="+",
        default=[],
        metavar="SITE",
        help=f"optional sensors of the recording to use too: {', '.join(EXTRA_SITES)}, or all",
    )
    parser.add_argument("--model", default=PipelineSettings.model, help="model file")
    parser.add_argument(
        "--backend",
        default=PipelineSettings.backend,
        choices=("auto", "onnxruntime", "tensorrt", "torch"),
    )
    parser.add_argument(
        "--again", action="store_true", help="of a folder, also recordings that are done already"
    )
    add_worker_options(parser)


@dataclass(frozen=True)
class Conversion:
    """A recording to make a motion of.

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
        """Names it in messages."""
        return str(self.input)


@dataclass(frozen=True)
class Converted:
    """What came of it: a summary, and what is to be said beside it."""

    summary: str
    remarks: tuple[str, ...]


def run(args: argparse.Namespace) -> int:
    """Read, estimate, write; of a folder of recordings, each."""
    settings = PipelineSettings(
        model=args.model,
        backend=args.backend,
        calibration=args.calibration or "",
        height_m=args.height,
        segments=tuple(args.segment),
        orientation=args.orientation,
    )
    one = Conversion(
        Path(args.input),
        Path(args.output),
        settings,
        topics_given(args.topics),
        args.as_is,
        args.from_samples,
        tuple(args.extra_sites),
    )
    workers = workers_from(args)
    recordings = recordings_of(one.input)
    if recordings:
        return _convert_all(one, recordings, workers, args.again)
    if one.output.suffix != ".npz":
        raise PallasError(f"{args.output}: a motion file ends in .npz")
    done = convert(one)
    for sentence in done.remarks:
        print(f"pallas: {sentence}", file=sys.stderr)
    print(f"{one.output}: {done.summary}")
    return 0


def recordings_of(path: Path) -> list[Path]:
    """The recordings in a folder of several; empty for one recording."""
    if not path.is_dir() or is_logger_folder(path) or is_bag_folder(path):
        return []
    try:
        return find_recordings(path, (".npz",))
    except PallasError:
        return []  # the message for one recording says what is missing


def _convert_all(one: Conversion, recordings: Sequence[Path], workers: Workers, again: bool) -> int:
    """Each recording into ``OUT``; those whose motion is newer than they are done already."""
    if one.output.suffix == ".npz":
        raise PallasError(
            f"{one.output}: {len(recordings)} recordings are in {one.input}: give a folder to write"
            " their motions to"
        )
    jobs = [
        replace(one, input=path, output=one.output / output_name(path.relative_to(one.input)))
        for path in recordings
    ]
    left = [job for job in jobs if again or not is_newer(job.output, job.input)]
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
        + (f", {before} were there already" if before else "")
        + (f", {failed} not possible" if failed else "")
    )
    return 2 if failed and failed == len(jobs) else 0


def output_name(place: Path) -> Path:
    """The motion of a recording, below the folder of all: no two recordings share one."""
    name = place.name.replace(".", "_") if place.suffix != ".npz" else place.stem
    return place.with_name(f"{name}.npz")


def convert(one: Conversion) -> Converted:
    """Read, estimate and write one recording.

    Raises:
        PallasError: it cannot be read, or no body comes of it.
    """
    source = open_source(one.input, one.topics, one.as_is, one.extra_sites)
    settings = replace(one.settings, extra_sites=source.extra_sites)
    begun = time.perf_counter()
    found = process(source, settings, one.from_samples)
    with MotionWriter(one.output, MODEL_RATE_HZ) as motion:
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
        raise PallasError(f"{one.input}: no body came out of it: {source.why_nothing}")
    took = time.perf_counter() - begun
    seconds = (motion.last - motion.first) * 1e-9
    remarks = list(source.refused)
    if damage := source.damage():
        remarks.insert(0, f"{one.input}: {damage}; what is whole was used")
    if source.lost:
        remarks.append(
            f"{source.lost} frames of the live run are not in the bag: bodies after them"
            " differ a little from the live ones"
        )
    left_out = (
        f", {motion.left_out} left out because their stamps went back" if motion.left_out else ""
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


@dataclass
class Source:
    """A recording.

    Attributes:
        samples: raw, in the order they came.
        calibrations: those that hold, with the stamp (ns) each holds from.
        duration_s: of all of it.
        sensors: site -> identity of the sensor worn there at the beginning, as far as recorded.
        frames: the synchronised frames of the live run, or None where they were not recorded from
            its first body on.
        damage: what is known to be wrong with the recording once it was read, in words.
        lost: frames between those that the bag does not have, as far as it was read.
        extra_sites: the optional sensors among them that are used.
        why_nothing: what to say where no body comes out.
        refused: what was refused of the sensors' samples and why, after all were read.
        meaningless: of these, what makes every body wrong.
        estimated: sites whose orientation was estimated.
    """

    samples: Iterator[Timed]
    calibrations: list[tuple[Calibration, int]]
    duration_s: float
    sensors: dict[str, str] = field(default_factory=dict)
    frames: Iterator[ImuFrame] | None = None
    lost: int = 0
    damage: Callable[[], str] = str
    extra_sites: tuple[str, ...] = ()
    why_nothing: str = "the sensors were never heard together"
    refused: list[str] = field(default_factory=list)
    meaningless: list[str] = field(default_factory=list)
    estimated: list[str] = field(default_factory=list)


def open_source(
    path: str | Path,
    topics: Mapping[str, str] | None = None,
    as_is: bool = False,
    extra_sites: Sequence[str] = (),
) -> Source:
    """Open a recording.

    Args:
        path: an IMU recording, or a bag.
        topics: of a bag: site -> topic, where it is another than /imu/<site>; of a folder of CSV
            files: site -> sensor.
        as_is: see `load_recording`.
        extra_sites: the optional sensors to use; ``["all"]``: all it has.

    Raises:
        PallasError: it is none.
    """
    path = Path(path)
    if path.suffix == ".npz":
        if topics:
            raise PallasError(f"{path}: --topics are for bags; a recording names its sites itself")
        recording = load_recording(path, as_is, extra_sites)
        duration = float(recording.stamp[-1] - recording.stamp[0])
        start = max(1, round(recording.stamp[0] * 1e9))
        return Source(
            recording.samples(start),
            [(Calibration.identity(recording.sites), 0)] if recording.calibrated else [],
            duration,
            extra_sites=recording.sites[len(SITES) :],
        )
    if is_logger_folder(path):
        samples, duration = read_logger_folder(path, topics)
        return Source(iter(samples), [], duration)
    bag = Bag(path)
    there = [site for site in EXTRA_SITES if TOPIC_IMU.format(site=site) in bag.topics]
    wanted = there if list(extra_sites) == [ALL] else extra_sites
    sites = worn_sites((*SITES, *wanted))
    worn = worn_topics(bag, topics or {}, sites)
    calibrations = (
        [read_document(message.data) for _, message in bag.read(TOPIC_CALIBRATION)]
        if TOPIC_CALIBRATION in bag.topics
        else []
    )
    return Source(
        _bag_samples(bag, worn),
        calibrations,
        bag.duration,
        _bag_sensors(bag),
        _bag_frames(bag),
        damage=lambda: bag.damage,
        extra_sites=sites[len(SITES) :],
    )


def topics_given(words: Sequence[str]) -> dict[str, str]:
    """Site -> topic from words like ``neck=/imu2/data``; four topics alone are in the order of
    `SITES`.

    Raises:
        PallasError: a word is not of that form, or a site is given twice.
    """
    if len(words) == len(SITES) and not any("=" in word for word in words):
        return dict(zip(SITES, words, strict=True))
    topics: dict[str, str] = {}
    for word in words:
        site, _, topic = word.partition("=")
        if site not in ALL_SITES or not topic or site in topics:
            raise PallasError(
                f"--topics {word[:80]}: give each site once, as SITE=TOPIC; sites are"
                f" {', '.join(ALL_SITES)}"
            )
        topics[site] = topic
    return topics


def worn_topics(bag: Bag, given: Mapping[str, str], sites: Sequence[str] = SITES) -> dict[str, str]:
    """Topic -> site of the IMU topics of a bag.

    A site's topic is the one given, else /imu/<site>, else the only topic of IMU messages with the
    site in its name.

    Raises:
        PallasError: a site has none; the sentence names the topics there are.
    """
    there = [name for name, topic in bag.topics.items() if topic.msgtype == IMU and topic.count]
    worn: dict[str, str] = {}
    missing = []
    for site in sites:
        topic = given.get(site, TOPIC_IMU.format(site=site))
        if site not in given and topic not in bag.topics:
            named = [name for name in there if site in name]
            topic = named[0] if len(named) == 1 else topic
        if topic in worn:
            raise PallasError(f"--topics: {topic} is given for {worn[topic]} and for {site}")
        if topic not in there:
            missing.append(topic)
        worn[topic] = site
    if missing and there:
        raise PallasError(
            f"{bag.path}: no IMU messages on {', '.join(missing)}; {IMU} is on {', '.join(there)}: "
            f"say which is worn where, --topics {' '.join(f'{site}=TOPIC' for site in sites)}"
        )
    bag.require(*worn)
    return worn


def process(
    source: Source, settings: PipelineSettings, from_samples: bool = False
) -> Iterator[BodyFrame]:
    """The bodies of a recording.

    A calibration of the settings holds for all of it; else each recorded one from its stamp on;
    else it is found from a still T-pose. Where the live run's synchronised frames were recorded too
    and no calibration is given, the bodies are made from them: then they are those of the live run
    whatever order the samples of different sensors reached it in.

    Raises:
        PallasError: the calibration of the settings was made with other sensors than the recording.
    """
    pipeline = settings.pipeline()
    if pipeline.calibration is not None:
        pipeline.calibration.check_sensors(source.sensors)
    waiting = (
        [] if settings.calibration else sorted(source.calibrations, key=lambda entry: entry[1])
    )
    if source.frames is not None and not settings.calibration and not from_samples:
        due = 0
        for frame in source.frames:
            source.lost += max(frame.step - due, 0)
            due = frame.step + 1
            yield from pipeline.push_calibrated(frame)
        return
    if waiting:
        pipeline.calibrate(None)
    for site, sample in source.samples:
        if sample is None:
            pipeline.intake.unreadable(site)
            continue
        while waiting and sample.stamp > waiting[0][1]:
            pipeline.put_in_force(*waiting.pop(0))
        yield from pipeline.push(site, sample)
    source.why_nothing = pipeline.why_nothing()
    source.refused = pipeline.intake.report()
    source.meaningless = pipeline.intake.meaningless()
    source.estimated = pipeline.intake.estimated()


def _bag_samples(bag: Bag, topics: dict[str, str]) -> Iterator[Timed]:
    """The raw samples of a bag in the order of their reception."""
    for message in bag.messages(set(topics)):
        try:
            yield topics[message.topic], imu_from_msg(bag.decode(message))
        except PallasError:
            yield topics[message.topic], None


def _bag_sensors(bag: Bag) -> dict[str, str]:
    """Whose samples a bag begins with; what is no such message the running node ignores too."""
    for _, message in bag.read(TOPIC_SENSORS) if TOPIC_SENSORS in bag.topics else ():
        with contextlib.suppress(PallasError):
            return sensors_from_msg(message)
    return {}


def _bag_frames(bag: Bag) -> Iterator[ImuFrame] | None:
    """The synchronised frames of a bag, or None where the first one is not that with which the
    estimator began.
    """
    if TOPIC_IMU_FRAME not in bag.topics:
        return None
    frames = (imu_frame_from_msg(message) for _, message in bag.read(TOPIC_IMU_FRAME))
    first = next(frames, None)
    return chain([first], frames) if first is not None and first.step == 0 else None
