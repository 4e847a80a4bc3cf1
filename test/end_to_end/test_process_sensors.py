"""`pallas process` of recordings by other drivers: any topic names, no orientation, and reported
driver mistakes.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")

from pallas_ros import cli
from pallas_ros.bags import BagWriter
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import load_motion, save_npz
from pallas_ros.body.names import JOINT_INDEX, SITES
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.sample import ImuSample
from pallas_ros.imu.virtual import SensorNoise, VirtualSensors
from pallas_ros.messages.wire import imu_to_bytes
from pallas_ros.pipeline import PipelineSettings
from pallas_ros.pipeline.recorded import Source, open_source, process

Samples = list[tuple[str, ImuSample]]


@pytest.fixture(scope="module")
def samples() -> Samples:
    return VirtualSensors(SensorNoise(heading_walk=0.0), seed=3).samples(demo_motion(6.0), 60.0)


def write_bag(
    path: Path,
    samples: Samples,
    topic: str = "/imu/{site}",
    change: Callable[[str, ImuSample], ImuSample] = lambda site, sample: sample,
) -> Path:
    with BagWriter(path) as writer:
        for site in SITES:
            writer.add_topic(topic.format(site=site), "sensor_msgs/msg/Imu")
        for site, sample in samples:
            data = imu_to_bytes(change(site, sample), site)
            writer.write(topic.format(site=site), sample.stamp, data)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = cli.main(["process", *words])
    said = capsys.readouterr()
    return status, said.out + said.err


NUMBERED = {site: f"/sensor{k}/data" for k, site in enumerate(SITES)}


@pytest.mark.parametrize("form", ["pairs", "in order", "by name"])
def test_topics_of_any_name(
    form: str, samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = [(NUMBERED[site][1:], sample) for site, sample in samples]
    bag = tmp_path / "bag"
    words: list[str] = []
    if form == "by name":
        write_bag(bag, samples, "/{site}/imu/data")
    else:
        with BagWriter(bag) as writer:
            for topic in NUMBERED.values():
                writer.add_topic(topic, "sensor_msgs/msg/Imu")
            for name, sample in renamed:
                writer.write(f"/{name}", sample.stamp, imu_to_bytes(sample, "imu"))
        pairs = [f"{site}={topic}" for site, topic in NUMBERED.items()]
        words = ["--topics", *(pairs if form == "pairs" else NUMBERED.values())]
    status, said = run(capsys, str(bag), str(tmp_path / "m.npz"), *words)
    assert status == 0, said
    assert len(load_motion(tmp_path / "m.npz")) > 200


@pytest.mark.parametrize("extra", [[], ["all"], ["left_shin"]])
def test_topics_of_optional_sensors_are_used(
    extra: list[str], samples: Samples, tmp_path: Path
) -> None:
    topics = {**{site: f"/imu/{site}" for site in SITES}, "left_shin": "/imu5/data"}
    shin = [("left_shin", sample) for site, sample in samples if site == "pelvis"]
    with BagWriter(tmp_path / "bag") as writer:
        for topic in topics.values():
            writer.add_topic(topic, "sensor_msgs/msg/Imu")
        for site, sample in samples + shin:
            writer.write(topics[site], sample.stamp, imu_to_bytes(sample, "imu"))
    source = open_source(tmp_path / "bag", {"left_shin": "/imu5/data"}, extra_sites=extra)
    assert source.extra_sites == ("left_shin",)
    assert {site for site, _ in source.samples} == {*SITES, "left_shin"}
    with pytest.raises(PallasError, match="no IMU messages on /nowhere"):
        open_source(tmp_path / "bag", {"left_shin": "/nowhere"}, extra_sites=extra)


def with_shin(samples: Samples) -> Samples:
    """Samples with a sensor on the left shin."""
    return [
        entry
        for site, sample in samples
        for entry in (
            [(site, sample), ("left_shin", sample)] if site == "pelvis" else [(site, sample)]
        )
    ]


def write_shin_bag(path: Path, samples: Samples) -> Path:
    """Write a bag whose left shin is on /imu5/data."""
    topics = {**{site: f"/imu/{site}" for site in SITES}, "left_shin": "/imu5/data"}
    with BagWriter(path) as writer:
        for topic in topics.values():
            writer.add_topic(topic, "sensor_msgs/msg/Imu")
        for site, sample in samples:
            writer.write(topics[site], sample.stamp, imu_to_bytes(sample, "imu"))
    return path


def test_a_requested_sensor_without_usable_samples_is_reported(
    samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pose = dict(reversed(samples))  # the first sample of each site
    still = [
        (site, replace(sample, stamp=10**9 + k * 16_666_667))
        for k in range(7 * 60)
        for site, sample in [*pose.items(), *([("left_shin", pose["pelvis"])] if k < 20 else [])]
    ]
    bag = write_shin_bag(tmp_path / "bag", still)
    out = str(tmp_path / "m.npz")
    status, said = run(capsys, str(bag), out, "--topics", "left_shin=/imu5/data")
    assert status == 0, said
    assert said.count("left_shin: no usable samples, so it was left out") == 1
    assert said.count("left_shin") == 1


def test_a_requested_sensor_that_the_calibration_lacks_is_reported(
    samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Calibration.identity().save(tmp_path / "c.yaml")
    bag = write_shin_bag(tmp_path / "bag", with_shin(samples))
    words = ["--topics", "left_shin=/imu5/data", "--calibration", str(tmp_path / "c.yaml")]
    status, said = run(capsys, str(bag), str(tmp_path / "m.npz"), *words)
    assert status == 0, said
    assert said.count("left_shin: not in the calibration, so it was not used") == 1


def test_a_requested_sensor_that_the_recorded_frames_lack_is_reported(samples: Samples) -> None:
    pipeline = PipelineSettings().pipeline()
    frames = []
    pipeline.admit = lambda frame: frames.append(frame) is not None
    for site, sample in samples[: len(samples) // 2]:
        pipeline.push(site, sample)
    assert frames
    frames[0].step = 0
    source = Source(iter(()), [], 1.0, frames=iter(frames[:1]), extra_sites=("left_shin",))
    assert len(list(process(source, PipelineSettings(extra_sites=("left_shin",))))) == 1
    assert [w for w in source.warnings if "left_shin" in w and "--from-samples" in w]


def test_the_topics_there_are_and_the_option_are_named(
    samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_bag(tmp_path / "bag", samples[:40], "/s/{site}".replace("{site}", "{site}_x"))
    with_two = [word for site in SITES[:2] for word in (f"{site}=/nowhere",)]
    status, said = run(capsys, str(bag), str(tmp_path / "m.npz"), "--topics", with_two[0])
    assert status == 2
    assert "no IMU messages on /nowhere" in said
    assert "/s/neck_x" in said
    assert "--topics pelvis=TOPIC" in said
    status, said = run(capsys, str(bag), str(tmp_path / "m.npz"), "--topics", "tail=/x")
    assert status == 2
    assert "sites are pelvis" in said


def test_a_bag_without_orientations_gives_the_body_it_gives_with_them(
    samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = write_bag(tmp_path / "with", samples)
    bare = write_bag(
        tmp_path / "without", samples, change=lambda site, s: replace(s, orientation=None)
    )
    assert run(capsys, str(given), str(tmp_path / "a.npz"))[0] == 0
    status, said = run(capsys, str(bare), str(tmp_path / "b.npz"))
    assert status == 0, said
    assert "orientation of pelvis, neck, left_wrist, right_wrist estimated" in said
    a, b = (load_motion(tmp_path / f"{name}.npz") for name in "ab")
    count = min(len(a), len(b)) - 5
    wrists = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]
    apart = a.positions[-count:, wrists] - b.positions[-count:, wrists]
    assert np.median(np.linalg.norm(apart, axis=-1)) < 0.05


def test_refused_samples_are_reported_with_the_bodies(
    samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 0

    def sometimes_wrong(site: str, sample: ImuSample) -> ImuSample:
        nonlocal count
        count += site == "left_wrist"
        wrong = site == "left_wrist" and count % 15 == 0
        return replace(sample, orientation=np.array([0.5, 0.5, -0.5, 0.5])) if wrong else sample

    clean = write_bag(tmp_path / "clean", samples)
    bag = write_bag(tmp_path / "bag", samples, change=sometimes_wrong)
    status, said = run(capsys, str(bag), str(tmp_path / "b.npz"))
    assert status == 0
    assert f"left_wrist: {count // 15} of {count} samples refused: the orientation jumps" in said
    a, b = (
        {body.stamp: body for body in process(open_source(path), PipelineSettings())}
        for path in (clean, bag)
    )
    common = sorted(set(a) & set(b))
    assert len(common) > len(a) - 5
    wrist = JOINT_INDEX["left_wrist"]
    apart = [a[stamp].positions[wrist] - b[stamp].positions[wrist] for stamp in common]
    assert np.linalg.norm(apart, axis=-1).max() < 0.03


def test_a_mistake_gives_no_motion_even_with_a_calibration(
    samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Calibration.identity().save(tmp_path / "c.yaml")
    bag = write_bag(
        tmp_path / "bag", samples, change=lambda s, x: replace(x, acceleration=x.acceleration / 9.8)
    )
    status, said = run(
        capsys, str(bag), str(tmp_path / "m.npz"), "--calibration", str(tmp_path / "c.yaml")
    )
    assert status == 2
    assert "the acceleration is in g" in said
    assert not (tmp_path / "m.npz").exists()


def test_a_flag_that_is_wrong_is_refused_and_can_be_insisted_on(
    samples: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_site = {site: [s for at, s in samples if at == site] for site in SITES}
    count = min(map(len, by_site.values()))
    stack = {
        "orientation": [[s.orientation for s in by_site[site][:count]] for site in SITES],
        "linear_acceleration": [[s.acceleration for s in by_site[site][:count]] for site in SITES],
    }
    arrays = {key: np.swapaxes(np.array(value), 0, 1) for key, value in stack.items()}
    stamp = np.array([s.stamp for s in by_site["pelvis"][:count]]) * 1e-9
    save_npz(
        tmp_path / "r.npz",
        {**arrays, "sites": np.array(SITES), "stamp": stamp, "calibrated": np.array(True)},
    )
    status, said = run(capsys, str(tmp_path / "r.npz"), str(tmp_path / "m.npz"))
    assert status == 2
    assert "'calibrated' is True, but gravity is included" in said
    status, said = run(capsys, str(tmp_path / "r.npz"), str(tmp_path / "m.npz"), "--as-is")
    assert status == 0, said
