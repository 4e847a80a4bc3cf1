"""`pallas process`: an IMU recording into a motion file, by the code that runs live."""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from pallas_ros.bags import Bag
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.motion_writer import MotionWriter
from pallas_ros.body.names import (
    MODEL_RATE_HZ,
    SITES,
    TOPIC_CALIBRATION,
    TOPIC_IMU,
    TOPIC_IMU_FRAME,
    TOPIC_SENSORS,
)
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.recording import load_recording
from pallas_ros.imu.sample import ImuSample
from pallas_ros.messages.decode import imu_frame_from_msg, imu_from_msg, sensors_from_msg
from pallas_ros.pipeline import PipelineSettings, read_document

HELP = "Turn an IMU recording (.npz, rosbag2 folder or .mcap) into a motion file."

EXAMPLE = """\
examples:
  pallas process walk.npz motion.npz
  pallas process recordings/first motion.npz            a bag; its own calibration is used, so that the body is the live one
  pallas process walk.npz motion.npz --calibration me.yaml --height 1.82

Recordings with calibrated=True are taken as they are. For others the calibration is the one given, the one recorded in the bag, or it is found from
a still T-pose at the start."""

Timed = tuple[str, ImuSample]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("input", metavar="IN", help="IMU recording: .npz, rosbag2 folder or .mcap")
    parser.add_argument("output", metavar="OUT", help="motion file (.npz) to write")
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
    parser.add_argument("--model", default=PipelineSettings.model, help="model file")
    parser.add_argument(
        "--backend",
        default=PipelineSettings.backend,
        choices=("auto", "onnxruntime", "tensorrt", "torch"),
    )


def run(args: argparse.Namespace) -> int:
    """Read, estimate, write."""
    if Path(args.output).suffix != ".npz":
        raise PallasError(f"{args.output}: a motion file ends in .npz")
    settings = PipelineSettings(
        model=args.model,
        backend=args.backend,
        calibration=args.calibration or "",
        height_m=args.height,
        segments=tuple(args.segment),
    )
    source = open_source(args.input)
    begun = time.perf_counter()
    found = process(source, settings, args.from_samples)
    with MotionWriter(args.output, MODEL_RATE_HZ) as motion:
        for body in tqdm(
            found,
            total=round(source.duration_s * MODEL_RATE_HZ),
            unit=" frames",
            leave=False,
            disable=None,
        ):
            motion.add(body)
    if not motion.frames:
        raise PallasError(f"{args.input}: no body came out of it: {source.why_nothing}")
    took, seconds = time.perf_counter() - begun, (motion.last - motion.first) * 1e-9
    left_out = (
        f", {motion.left_out} left out because their stamps went back" if motion.left_out else ""
    )
    print(
        f"{args.output}: {motion.frames} frames, {seconds:.1f} s, {seconds / took:.0f} times real time{left_out}"
    )
    if source.lost:
        print(
            f"pallas: {source.lost} frames of the live run are not in the bag: bodies after them differ a little from the live ones",
            file=sys.stderr,
        )
    return 0


@dataclass
class Source:
    """A recording.

    Attributes:
        samples: raw, in the order they came.
        calibrations: those that hold, with the stamp (ns) each holds from.
        duration_s: of all of it.
        sensors: site -> identity of the sensor worn there at the beginning, as far as recorded.
        frames: the synchronised frames of the live run, or None where they were not recorded from its first body on.
        lost: frames between those that the bag does not have, as far as it was read.
        why_nothing: what to say where no body comes out.
    """

    samples: Iterator[Timed]
    calibrations: list[tuple[Calibration, int]]
    duration_s: float
    sensors: dict[str, str] = field(default_factory=dict)
    frames: Iterator[ImuFrame] | None = None
    lost: int = 0
    why_nothing: str = "the sensors were never heard together"


def open_source(path: str | Path) -> Source:
    """Open a recording.

    Raises:
        PallasError: it is none.
    """
    path = Path(path)
    if path.suffix == ".npz":
        recording = load_recording(path)
        duration = float(recording.stamp[-1] - recording.stamp[0])
        start = max(1, round(recording.stamp[0] * 1e9))
        return Source(
            recording.samples(start),
            [(Calibration.identity(), 0)] if recording.calibrated else [],
            duration,
        )
    bag = Bag(path)
    topics = {TOPIC_IMU.format(site=site): site for site in SITES}
    bag.require(*topics)
    calibrations = (
        [read_document(message.data) for _, message in bag.read(TOPIC_CALIBRATION)]
        if TOPIC_CALIBRATION in bag.topics
        else []
    )
    return Source(
        _bag_samples(bag, topics), calibrations, bag.duration, _bag_sensors(bag), _bag_frames(bag)
    )


def process(
    source: Source, settings: PipelineSettings, from_samples: bool = False
) -> Iterator[BodyFrame]:
    """The bodies of a recording.

    A calibration of the settings holds for all of it; else each recorded one from its stamp on; else it is found from a still
    T-pose. Where the live run's synchronised frames were recorded too and no calibration is given, the bodies are made from them:
    then they are those of the live run whatever order the samples of different sensors reached it in.

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
        while waiting and sample.stamp > waiting[0][1]:
            pipeline.put_in_force(*waiting.pop(0))
        yield from pipeline.push(site, sample)
    if pipeline.calibration is None:
        source.why_nothing = (
            pipeline.remarks()[0] if pipeline.remarks() else "no calibration was found"
        )


def _bag_samples(bag: Bag, topics: dict[str, str]) -> Iterator[Timed]:
    """The raw samples of a bag in the order of their reception."""
    for message in bag.messages(set(topics)):
        try:
            sample = imu_from_msg(bag.decode(message))
        except PallasError:  # the running node refuses it too
            continue
        yield topics[message.topic], sample


def _bag_sensors(bag: Bag) -> dict[str, str]:
    """Whose samples a bag begins with; what is no such message the running node ignores too."""
    for _, message in bag.read(TOPIC_SENSORS) if TOPIC_SENSORS in bag.topics else ():
        with contextlib.suppress(PallasError):
            return sensors_from_msg(message)
    return {}


def _bag_frames(bag: Bag) -> Iterator[ImuFrame] | None:
    """The synchronised frames of a bag, or None where the first one is not that with which the estimator began."""
    if TOPIC_IMU_FRAME not in bag.topics:
        return None
    frames = (imu_frame_from_msg(message) for _, message in bag.read(TOPIC_IMU_FRAME))
    first = next(frames, None)
    return chain([first], frames) if first is not None and first.step == 0 else None
