"""The graph as processes: it runs and records, the end of a child is reported, and Ctrl-C and kill
-9 leave nothing behind.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")


from graph_process import ENDING, Up, bodies_heard, gone, wait_gone

from pallas_ros.bags import Bag
from pallas_ros.bags.bodies import read_bodies
from pallas_ros.body.motion import load_motion, save_npz
from pallas_ros.body.names import TOPIC_PALLAS_BODY, TOPIC_TRUTH_BODY
from pallas_ros.files.npz import load_npz
from pallas_ros.graph.measurement import of_bag
from pallas_ros.pipeline import PipelineSettings
from pallas_ros.pipeline.recorded import open_source, process

pytestmark = pytest.mark.timeout(170)


def test_sensors_to_bag_and_the_bag_gives_the_live_body_again(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start("--record", str(tmp_path / "bag"), "robot:=")
    with bodies_heard() as heard:
        up.until(lambda: len(heard()) > 150)
    up.process.send_signal(signal.SIGINT)
    assert up.end() == 0, up.said()
    assert "all of them have exited" in up.said()
    bag = Bag(tmp_path / "bag")
    live = {body.stamp: body for _, body in read_bodies(bag, TOPIC_PALLAS_BODY)}
    truth = {body.stamp: body for _, body in read_bodies(bag, TOPIC_TRUTH_BODY)}
    assert len(live) > 100
    source = open_source(tmp_path / "bag")
    again = {body.stamp: body for body in process(source, PipelineSettings())}
    assert source.lost == 0
    common = sorted(set(live) & set(again))
    assert len(common) >= len(live) - ENDING
    for stamp in common:
        np.testing.assert_array_equal(live[stamp].positions, again[stamp].positions)
        np.testing.assert_array_equal(live[stamp].rotations, again[stamp].rotations)
    cold = {
        body.stamp: body
        for body in process(open_source(tmp_path / "bag"), PipelineSettings(), from_samples=True)
    }
    assert len(set(live) - set(cold)) < 0.05 * len(live)
    assert (
        np.median([np.abs(live[s].positions - cold[s].positions).max() for s in live if s in cold])
        < 0.05
    )  # but for what came too late to be used live
    errors = [
        np.linalg.norm(
            (live[s].positions - live[s].positions[0])
            - (truth[s].positions - truth[s].positions[0]),
            axis=1,
        ).mean()
        for s in common
        if s in truth
    ]
    assert np.mean(errors) < 0.15  # the demonstration's first seconds: standing, beginning to walk
    run, _ = of_bag(bag, "/none")
    assert len(run.body_times) == len(live)


def test_ctrl_c_takes_all_down_and_a_second_graph_is_refused_before(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start("robot:=")
    up.until(lambda: up.said().count(": active") >= 4)
    children = list(up.children().values())
    assert len(children) == 5  # the lifecycle manager too
    second = start("robot:=")
    assert second.end() == 2
    assert "already running in ROS domain" in second.said()
    assert second.said().strip().count("\n") == 0
    begun = time.monotonic()
    up.process.send_signal(signal.SIGINT)
    assert up.end() == 0, up.said()
    print(f"stopped in {time.monotonic() - begun:.2f} s")
    assert gone(children)
    assert not list((tmp_path / "ports").glob("[!.]*"))


def test_a_child_that_dies_is_named_and_the_graph_ends_non_zero(start: Callable[..., Up]) -> None:
    up = start("robot:=")
    up.until(lambda: up.said().count(": active") >= 4)
    children = up.children()
    os.kill(children["hpstm"], signal.SIGKILL)
    assert up.end() == 2
    assert up.said().strip().splitlines()[-1] == "pallas: node hpstm was killed by SIGKILL"
    wait_gone(list(children.values()))


def test_after_kill_9_of_everything_the_next_start_works(start: Callable[..., Up]) -> None:
    up = start("robot:=")
    up.until(lambda: up.said().count(": active") >= 4)
    children = up.children()
    os.kill(up.process.pid, signal.SIGKILL)  # the parent alone: the kernel takes the children along
    up.process.wait()
    wait_gone(list(children.values()))
    again = start("robot:=")
    again.until(lambda: again.said().count(": active") >= 4)
    for pid in [*again.children().values(), again.process.pid]:
        os.kill(pid, signal.SIGKILL)
    again.process.wait()
    last = start("--duration", "1", "robot:=")
    assert last.end() == 0, last.said()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["imu_source:=serial", "robot:="], "the port of pelvis"),
        (["robot:=r2d2"], "r2d2"),
        (["height:=9"], "'height_m' is 9, but must be a float from 1.2 to 2.2 m"),
        (["calibration:=none.yaml", "robot:="], "none.yaml: no such file"),
        (["--duration", "0"], "--duration 0: give more than 0 s and less than 1e7 s"),
    ],
)
def test_bad_input_is_one_sentence_and_a_non_zero_status(
    start: Callable[..., Up], arguments: list[str], sentence: str
) -> None:
    up = start(*arguments)
    assert up.end() == 2
    last = up.said().strip().splitlines()[-1]
    assert last.startswith("pallas: ")
    assert sentence in last
    assert "Traceback" not in up.said()


def test_all_nodes_in_one_process(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start("--single-process", "--record", str(tmp_path / "bag"), "robot:=")
    with bodies_heard() as heard:
        up.until(lambda: len(heard()) > 40)
    up.process.send_signal(signal.SIGINT)
    assert up.end() == 0, up.said()
    assert len(list(read_bodies(Bag(tmp_path / "bag"), TOPIC_PALLAS_BODY))) > 30


def test_a_bag_without_the_sensors_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pallas_ros import cli
    from pallas_ros.bags import BagWriter

    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/chatter", "std_msgs/msg/String")
        bag.write("/chatter", 1, b"\x00\x01\x00\x00\x02\x00\x00\x00a\x00")
    assert cli.main(["process", str(tmp_path / "bag"), str(tmp_path / "out.npz")]) == 2
    assert "no messages on /imu/pelvis in this bag; it holds /chatter" in capsys.readouterr().err


def test_the_first_seconds_of_the_real_recording_become_a_motion(
    shared_data: Path, tmp_path: Path
) -> None:
    from pallas_ros import cli

    recording = load_npz(shared_data / "real_imu_60hz.npz", "IMU recording")
    for name in ("stamp", "orientation", "linear_acceleration"):
        recording[name] = recording[name][:240]
    save_npz(tmp_path / "piece.npz", recording)
    assert cli.main(["process", str(tmp_path / "piece.npz"), str(tmp_path / "real.npz")]) == 0
    assert load_motion(tmp_path / "real.npz").duration > 3.9
