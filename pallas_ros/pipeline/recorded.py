"""A recording through the pipeline: its samples in the order they came, and the bodies that the
live graph would have made of them.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from pallas_ros.bags import Bag
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.names import (
    ALL_SITES,
    EXTRA_SITES,
    SITES,
    TOPIC_CALIBRATION,
    TOPIC_IMU,
    TOPIC_IMU_FRAME,
    TOPIC_SENSORS,
)
from pallas_ros.body.sites import worn_sites
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.logger_folder import is_logger_folder, read_logger_folder
from pallas_ros.imu.recording import ALL, load_recording
from pallas_ros.imu.sample import ImuSample
from pallas_ros.messages.decode import imu_frame_from_msg, imu_from_msg, sensors_from_msg
from pallas_ros.pipeline import PipelineSettings, read_document

IMU = "sensor_msgs/msg/Imu"

Timed = tuple[str, ImuSample | None]
"""A site and its sample, or None for a message that could not be read as one."""


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
