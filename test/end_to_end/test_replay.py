"""Replay of a recorded session: the running nodes give the live bodies, and `pallas process` gives
the same bytes each time.
"""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

from graph_process import ENDING, Up, bodies_heard

from pallas_ros import cli
from pallas_ros.bags import Bag
from pallas_ros.bags.bodies import read_bodies
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.names import (
    TOPIC_CALIBRATION,
    TOPIC_HPSTM_BODY,
    TOPIC_IMU_FRAME,
    TOPIC_PALLAS_BODY,
)
from pallas_ros.messages.decode import imu_frame_from_msg
from pallas_ros.pipeline import PipelineSettings, read_document
from pallas_ros.pipeline.recorded import open_source, process

CALIBRATED = "calibrated ("
SETTLED_NS = 100_000_000
"""Before the last live body: the last of them may want samples that the bag no longer has."""

pytestmark = [pytest.mark.ros, pytest.mark.timeout(170)]


def bodies(bag: Path, topic: str) -> dict[int, BodyFrame]:
    return {body.stamp: body for _, body in read_bodies(Bag(bag), topic) if body.valid.all()}


def frames(bag: Path) -> dict[int, ImuFrame]:
    found = (imu_frame_from_msg(message) for _, message in Bag(bag).read(TOPIC_IMU_FRAME))
    return {frame.stamp: frame for frame in found}


def put_in(one: ImuFrame | None, other: ImuFrame | None) -> float:
    """Largest difference between the inputs of two bodies: quaternions, m/s^2."""
    if one is None or other is None:
        return float("inf")
    return float(
        max(
            np.abs(one.orientation - other.orientation).max(),
            np.abs(one.acceleration - other.acceleration).max(),
        )
    )


def apart(one: BodyFrame, other: BodyFrame) -> float:
    """Largest distance between joints of two bodies, aligned at the pelvis, in m."""
    return float(
        np.abs((one.positions - one.positions[0]) - (other.positions - other.positions[0])).max()
    )


def test_replayed_through_the_nodes_and_processed_twice(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    live_bag = tmp_path / "live"
    again_bag = tmp_path / "again"
    up = start("--record", str(live_bag), "robot:=")
    with bodies_heard() as heard:
        up.until(lambda: len(heard()) > 200 and CALIBRATED in up.said())
    up.process.send_signal(signal.SIGINT)
    assert up.end() == 0, up.said()

    up = start("--record", str(again_bag), "imu_source:=topics", "use_sim_time:=true", "robot:=")
    up.until(lambda: up.said().count(": active") >= 3)
    replay = [
        sys.executable,
        "-m",
        "pallas_ros.cli",
        "replay",
        str(live_bag),
        "--inputs",
        "--clock",
    ]
    last = max(bodies(live_bag, TOPIC_PALLAS_BODY))
    with bodies_heard() as heard:
        run = subprocess.Popen(replay, stdout=subprocess.PIPE, text=True)
        up.until(
            lambda: max(heard(), default=0) >= last - SETTLED_NS and CALIBRATED in up.said()
        )  # a slow machine works on after the last sample
        assert "played" in run.communicate(timeout=60)[0]
        assert run.returncode == 0
    up.process.send_signal(signal.SIGINT)
    assert up.end() == 0, up.said()

    live = bodies(live_bag, TOPIC_PALLAS_BODY)
    again = bodies(again_bag, TOPIC_PALLAS_BODY)
    (found,), (found_again,) = (
        [read_document(message.data)[1] for _, message in Bag(bag).read(TOPIC_CALIBRATION)]
        for bag in (live_bag, again_bag)
    )
    # The nodes had the clock of the bag, and the still pose ended at the same sample, give or take
    # those that were too late for one of them.
    assert abs(found - found_again) < 100_000_000
    common = sorted(set(live) & set(again))
    assert len(common) > 0.9 * len(live)
    went_in = frames(live_bag)
    went_in_again = frames(again_bag)
    # On a busy machine a sample is now and then too late for one of them: a frame differs, or, by a
    # rounding, the calibration.
    assert (
        np.median([put_in(went_in.get(stamp), went_in_again.get(stamp)) for stamp in common]) < 1e-3
    )
    for bag, came_out in (
        (live_bag, live),
        (again_bag, again),
    ):
        # what went in decides what came out, to the last bit
        offline = {body.stamp: body for body in process(open_source(bag), PipelineSettings())}
        assert len(set(came_out) - set(offline)) <= ENDING
        for stamp in set(came_out) & set(offline):
            np.testing.assert_array_equal(came_out[stamp].positions, offline[stamp].positions)
            np.testing.assert_array_equal(came_out[stamp].rotations, offline[stamp].rotations)
    assert np.median([apart(live[stamp], again[stamp]) for stamp in common]) < 2e-3
    smooth = bodies(live_bag, TOPIC_HPSTM_BODY)
    smooth_again = bodies(again_bag, TOPIC_HPSTM_BODY)
    assert (
        np.median(
            [apart(smooth[stamp], smooth_again[stamp]) for stamp in set(smooth) & set(smooth_again)]
        )
        < 5e-3
    )

    for name in ("a.npz", "b.npz"):
        assert cli.main(["process", str(live_bag), str(tmp_path / name)]) == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
