"""Process a recording: its samples in order of reception, and the bodies the live graph would have
estimated from them.
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
from pallas_ros.pipeline import Pipeline, PipelineSettings, read_document

IMU = "sensor_msgs/msg/Imu"

Timed = tuple[str, ImuSample | None]
"""A site and its sample; None for a message that could not be read."""


@dataclass
class Source:
    """An opened recording.

    Attributes:
        samples: raw samples, in order of reception.
        calibrations: recorded calibrations, each with the timestamp (ns) it applies from.
        duration_s: total duration.
        sensors: site -> identity of the sensor worn there at the beginning, if recorded.
        frames: synchronised frames of the live run; None if not recorded from its first body on.
        damage: known defects of the recording, available after reading it.
        lost: number of frames missing from the bag, as far as it was read.
        extra_sites: optional sensors in use.
        no_body_reason: message for the case that no body results.
        refused: rejected sensor samples with reasons, available after reading all.
        meaningless: those of them that make every body wrong.
        estimated: sites whose orientation was estimated.
        warnings: problems with the calibration, and optional sensors that were not used, available
            after reading all.
    """

    samples: Iterator[Timed]
    calibrations: list[tuple[Calibration, int]]
    duration_s: float
    sensors: dict[str, str] = field(default_factory=dict)
    frames: Iterator[ImuFrame] | None = None
    lost: int = 0
    damage: Callable[[], str] = str
    extra_sites: tuple[str, ...] = ()
    no_body_reason: str = "the sensors never sent samples at the same time"
    refused: list[str] = field(default_factory=list)
    meaningless: list[str] = field(default_factory=list)
    estimated: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def open_source(
    path: str | Path,
    topics: Mapping[str, str] | None = None,
    as_is: bool = False,
    extra_sites: Sequence[str] = (),
) -> Source:
    """Open a recording.

    Args:
        path: an IMU recording, or a bag.
        topics: for a bag: site -> topic, if not /imu/<site>; for a folder of CSV files:
            site -> sensor. Optional sites in it are used.
        as_is: see `load_recording`.
        extra_sites: further optional sensors to use; ``["all"]``: all that are recorded.

    Raises:
        PallasError: it is not a recording.
    """
    path = Path(path)
    if path.suffix == ".npz":
        if topics:
            raise PallasError(
                f"{path}: --topics applies to bags; this recording names its sites itself"
            )
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
        samples, duration = read_logger_folder(path, topics, extra_sites)
        found = {site for site, _ in samples}
        extra = tuple(site for site in EXTRA_SITES if site in found)
        return Source(iter(samples), [], duration, extra_sites=extra)
    bag = Bag(path)
    there = [site for site in EXTRA_SITES if TOPIC_IMU.format(site=site) in bag.topics]
    wanted = there if list(extra_sites) == [ALL] else extra_sites
    given = [site for site in EXTRA_SITES if site in (topics or {})]
    sites = worn_sites(tuple(dict.fromkeys((*SITES, *wanted, *given))))
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
    """Parse site -> topic from strings like ``neck=/imu2/data``.

    Four topics without sites are in the order of `SITES`.

    Raises:
        PallasError: a string is malformed, or a site is given twice.
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
    """Return topic -> site of the IMU topics of a bag.

    A site's topic is the given one, else /imu/<site>, else the only topic of IMU messages with the
    site in its name.

    Raises:
        PallasError: a site has no topic; the message lists the available topics.
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
            f"{bag.path}: no IMU messages on {', '.join(missing)}; {IMU} is on {', '.join(there)}:"
            f" assign topics to sites with --topics {' '.join(f'{site}=TOPIC' for site in sites)}"
        )
    bag.require(*worn)
    return worn


def process(
    source: Source, settings: PipelineSettings, from_samples: bool = False
) -> Iterator[BodyFrame]:
    """Yield the bodies of a recording.

    A calibration in the settings applies to the whole recording; otherwise each recorded one
    applies from its timestamp on; otherwise it is found from a still T-pose. If the live run's
    synchronised frames were recorded and no calibration is given, bodies are estimated from them:
    they then equal those of the live run, whatever the order in which the sensors' samples reached
    it.

    Raises:
        PallasError: the calibration in the settings was made with other sensors.
    """
    pipeline = settings.pipeline()
    if pipeline.calibration is not None:
        pipeline.calibration.check_sensors(source.sensors)
    waiting = (
        [] if settings.calibration else sorted(source.calibrations, key=lambda entry: entry[1])
    )
    if source.frames is not None and not settings.calibration and not from_samples:
        yield from _process_frames(source, source.frames, pipeline)
        return
    if waiting:
        pipeline.calibrate(None)
    used = [] if pipeline.calibration is None else [pipeline.calibration]
    given = [*used, *(calibration for calibration, _ in waiting)]
    for site, sample in source.samples:
        if sample is None:
            pipeline.intake.unreadable(site)
            continue
        while waiting and sample.stamp > waiting[0][1]:
            pipeline.apply_calibration(*waiting.pop(0))
        yield from pipeline.push(site, sample)
        now = pipeline.calibration
        if now is not None and not (used and used[-1] is now):
            used.append(now)
    source.warnings = _calibration_warnings(source.extra_sites, used, given)
    source.no_body_reason = pipeline.no_body_reason()
    source.refused = pipeline.intake.report()
    source.meaningless = pipeline.intake.meaningless()
    source.estimated = pipeline.intake.estimated()


def _process_frames(
    source: Source, frames: Iterator[ImuFrame], pipeline: Pipeline
) -> Iterator[BodyFrame]:
    """Yield the bodies of the synchronised frames of a live run."""
    due = 0
    known: set[str] = set()
    for frame in frames:
        source.lost += max(frame.step - due, 0)
        due = frame.step + 1
        if frame.extra is not None:
            known.update(frame.extra.sites)
        yield from pipeline.push_calibrated(frame)
    source.warnings = [
        f"{site}: not in the recorded frames of the live run, so it was not used: process its"
        " samples with --from-samples"
        for site in source.extra_sites
        if site not in known
    ]


def _calibration_warnings(
    extra_sites: Sequence[str], used: Sequence[Calibration], given: Sequence[Calibration]
) -> list[str]:
    """Return the warnings of calibrations found here, and one about each uncalibrated sensor.

    Those of ``given`` calibrations were reported when they were made.
    """
    known = {id(calibration) for calibration in given}
    warnings = [text for each in used if id(each) not in known for text in each.warnings]
    explained = {text.partition(":")[0] for text in warnings}
    calibrated = {site for each in used for site in each.sites}
    return warnings + [
        f"{site}: not in the calibration, so it was not used: give one that was made while wearing"
        " it (--calibration)"
        for site in extra_sites
        if used and site not in calibrated and site not in explained
    ]


def _bag_samples(bag: Bag, topics: dict[str, str]) -> Iterator[Timed]:
    """Yield the raw samples of a bag in order of reception."""
    for message in bag.messages(set(topics)):
        try:
            yield topics[message.topic], imu_from_msg(bag.decode(message))
        except PallasError:
            yield topics[message.topic], None


def _bag_sensors(bag: Bag) -> dict[str, str]:
    """Return the sensors at the start of a bag; invalid messages are ignored, as in the node."""
    for _, message in bag.read(TOPIC_SENSORS) if TOPIC_SENSORS in bag.topics else ():
        with contextlib.suppress(PallasError):
            return sensors_from_msg(message)
    return {}


def _bag_frames(bag: Bag) -> Iterator[ImuFrame] | None:
    """Return the synchronised frames of a bag.

    Returns None if the first one is not the frame at which the estimator started.
    """
    if TOPIC_IMU_FRAME not in bag.topics:
        return None
    frames = (imu_frame_from_msg(message) for _, message in bag.read(TOPIC_IMU_FRAME))
    first = next(frames, None)
    return chain([first], frames) if first is not None and first.step == 0 else None
