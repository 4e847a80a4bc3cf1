"""`pallas process` of a bag: the bodies equal the live ones bit by bit if the frames of the live
run are recorded from the first one on, regardless of delays in the live run.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

from rclpy.serialization import serialize_message
from std_msgs.msg import String

from pallas_ros import cli
from pallas_ros.bags import BagWriter
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.motion import load_motion
from pallas_ros.body.names import JOINTS, SITES, TOPIC_CALIBRATION, TOPIC_IMU, TOPIC_IMU_FRAME
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.sample import ImuSample
from pallas_ros.imu.virtual import VirtualSensors
from pallas_ros.messages.encode import imu_frame_to_msg
from pallas_ros.messages.wire import imu_to_bytes
from pallas_ros.pipeline import PipelineSettings
from pallas_ros.pipeline.recorded import open_source, process

Samples = list[tuple[str, ImuSample]]
Kept = Callable[[int], bool]


@pytest.fixture(scope="module")
def samples() -> Samples:
    return VirtualSensors(seed=3).samples(demo_motion(4.5))


def live_run(
    bag: Path, samples: Samples, taken: Kept, recorded: Kept = lambda frame: True
) -> list[BodyFrame]:
    """Simulate a run of the node that records itself: frame k gives a body if ``taken(k)`` and is
    in the bag if ``recorded(k)``.
    """
    pipeline = PipelineSettings().pipeline()
    heard: list[ImuFrame] = []
    frames: list[ImuFrame] = []

    def admit(frame: ImuFrame) -> bool:
        heard.append(frame)
        if taken(len(heard) - 1):
            frames.append(frame)
        return taken(len(heard) - 1)

    pipeline.admit = admit
    bodies = [body for site, sample in samples for body in pipeline.push(site, sample)]
    with BagWriter(bag) as writer:
        for site in SITES:
            writer.add_topic(TOPIC_IMU.format(site=site), "sensor_msgs/msg/Imu")
        for site, sample in samples:
            writer.write(
                TOPIC_IMU.format(site=site), sample.stamp, imu_to_bytes(sample, f"imu_{site}")
            )
        writer.add_topic(TOPIC_CALIBRATION, "std_msgs/msg/String")
        writer.write(
            TOPIC_CALIBRATION,
            pipeline.from_stamp,
            serialize_message(String(data=pipeline.document())),
        )
        writer.add_topic(TOPIC_IMU_FRAME, "pallas/msg/ImuFrame")
        for number, frame in enumerate(frames):
            if recorded(number):
                writer.write(
                    TOPIC_IMU_FRAME, frame.stamp, serialize_message(imu_frame_to_msg(frame))
                )
    return bodies


@pytest.mark.parametrize(
    "late", [range(0), range(12), range(30, 50)], ids=["none", "the first", "some"]
)
def test_the_bodies_equal_the_live_ones_despite_skipped_frames(
    late: range, samples: Samples, tmp_path: Path
) -> None:
    live = live_run(tmp_path / "bag", samples, lambda k: k not in late)
    again = list(process(open_source(tmp_path / "bag"), PipelineSettings()))
    assert len(live) > 100
    assert [body.stamp for body in again] == [body.stamp for body in live]
    for mine, theirs in zip(again, live, strict=True):
        np.testing.assert_array_equal(mine.positions, theirs.positions)
        np.testing.assert_array_equal(mine.rotations, theirs.rotations)


def test_without_the_first_frame_the_samples_are_taken(samples: Samples, tmp_path: Path) -> None:
    live = live_run(tmp_path / "bag", samples, lambda k: True, recorded=lambda k: k > 0)
    source = open_source(tmp_path / "bag")
    assert source.frames is None
    again = {body.stamp: body for body in process(source, PipelineSettings())}
    assert again[live[0].stamp].stamp == live[0].stamp
    assert (
        max(
            np.abs(again[body.stamp].positions - body.positions).max()
            for body in live
            if body.stamp in again
        )
        < 0.01
    )


def test_frames_missing_from_the_bag_are_reported(
    samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = live_run(
        tmp_path / "bag", samples, lambda k: True, recorded=lambda k: k not in (40, 41, 90)
    )
    assert cli.main(["process", str(tmp_path / "bag"), str(tmp_path / "out.npz")]) == 0
    assert "3 frames of the live run are missing from the bag" in capsys.readouterr().err
    assert len(load_motion(tmp_path / "out.npz").positions) >= len(live) - 3


def test_another_topic_of_a_required_site_is_used_despite_recorded_frames(
    samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: the frames were used, and --topics had no effect."""
    bag = tmp_path / "bag"
    live_run(bag, samples, lambda k: True)
    swapped = ["left_wrist=/imu/right_wrist", "right_wrist=/imu/left_wrist"]
    motions = {}
    for name, given in (("swapped", swapped), ("same", ["neck=/imu/neck"]), ("plain", [])):
        out = tmp_path / f"{name}.npz"
        topics = ["--topics", *given] if given else []
        assert cli.main(["process", str(bag), str(out), *topics]) == 0
        said = capsys.readouterr().err
        assert ("gives left_wrist, right_wrist another topic" in said) == (name == "swapped")
        motions[name] = load_motion(out).positions
    np.testing.assert_array_equal(motions["same"], motions["plain"])
    wrist = JOINTS.index("left_wrist")
    count = min(len(motions["swapped"]), len(motions["plain"]))
    assert np.abs(motions["swapped"][:count] - motions["plain"][:count])[:, wrist].max() > 0.05
