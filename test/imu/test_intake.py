"""The first stage of raw samples: driver mistakes are counted by reason and reported with a remedy;
orientations are estimated.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.names import SITES
from pallas_ros.imu.intake import Intake
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.refusals import Reason
from pallas_ros.imu.sample import GRAVITY, ImuSample
from pallas_ros.imu.virtual import SensorNoise, VirtualSensors
from pallas_ros.pipeline import PipelineSettings

Stream = list[tuple[str, ImuSample]]
Change = Callable[[ImuSample], ImuSample]


@pytest.fixture(scope="module")
def stream() -> Stream:
    """Six seconds of a wearer who soon moves, with common sensor errors and a tilted mounting."""
    return VirtualSensors(SensorNoise(mounting_error=0.1), seed=3).samples(demo_motion(6.0), 60.0)


def changed(stream: Stream, change: Change, site: str = "") -> Iterator[tuple[str, ImuSample]]:
    for at, sample in stream:
        yield at, change(sample) if site in ("", at) else sample


def feed(intake: Intake, stream: Iterator[tuple[str, ImuSample]] | Stream) -> int:
    return sum(intake.push(site, sample) is not None for site, sample in stream)


def scaled(factor: float) -> Change:
    return lambda s: replace(s, orientation=np.asarray(s.orientation) * factor)


def force(change: Callable[[ImuSample], np.ndarray]) -> Change:
    return lambda s: replace(s, acceleration=change(s))


def gravity_of(sample: ImuSample) -> np.ndarray:
    assert sample.orientation is not None
    return rotations.rotate(rotations.inverse(sample.orientation), np.array([0.0, 0.0, GRAVITY]))


def order(indices: list[int]) -> Change:
    return lambda s: replace(s, orientation=np.asarray(s.orientation)[indices])


BLIND: Change = lambda s: replace(s, orientation=None, angular_velocity=None)  # noqa: E731

MISTAKES: dict[str, tuple[Change, Reason, str]] = {
    "raw integers": (scaled(16384.0), Reason.NOT_UNIT, r"length 1\.638e\+04.*divide"),
    "no orientation": (BLIND, Reason.NO_ORIENTATION, "publish angular_velocity"),
    "zero quaternion": (
        lambda s: replace(s, orientation=np.zeros(4), angular_velocity=None),
        Reason.ZERO_QUATERNION,
        "0 0 0 0",
    ),
    "not a number": (
        lambda s: replace(s, acceleration=np.full(3, np.nan)),
        Reason.NOT_FINITE,
        "not finite",
    ),
    "no stamp": (lambda s: replace(s, stamp=0), Reason.STAMP_ZERO, "header.stamp"),
    "one stamp": (lambda s: replace(s, stamp=7 * 10**9), Reason.STAMP_REPEATED, r"7\.000 s"),
    "mg": (force(lambda s: s.acceleration * 1000 / GRAVITY), Reason.TOO_STRONG, "not mm/s"),
    "g": (force(lambda s: s.acceleration / GRAVITY), Reason.IN_G, r"in g \(1\.0\d at rest"),
    "gravity removed": (
        force(lambda s: s.acceleration - gravity_of(s)),
        Reason.GRAVITY_REMOVED,
        "send specific force",
    ),
    "w first": (order([3, 0, 1, 2]), Reason.DISAGREE, "in the order w, x, y, z"),
    "sign reversed": (force(lambda s: -s.acceleration), Reason.DISAGREE, "sign reversed"),
    "y up": (
        lambda s: replace(
            s,
            orientation=rotations.multiply(
                rotations.from_rotvec(np.array([-np.pi / 2, 0, 0])), np.asarray(s.orientation)
            ),
        ),
        Reason.DISAGREE,
        "with y up",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_counted_and_named_with_its_remedy(mistake: str, stream: Stream) -> None:
    change, reason, words = MISTAKES[mistake]
    intake = Intake()
    feed(intake, changed(stream, change))
    for site in SITES:
        assert intake.refusals.count(site, reason) > 0.7 * intake.refusals.total(site)
    sentences = intake.report(share=0.3)
    named = [site for sentence in sentences for site in sentence.split(": ")[0].split(", ")]
    assert sorted(named) == sorted(SITES)
    assert all(" samples refused: " in sentence for sentence in sentences)
    assert intake.refusals.counts()[f"neck: {reason.short}"] == intake.refusals.count(
        "neck", reason
    )
    assert all(re.search(words, sentence) for sentence in sentences), sentences


@pytest.mark.parametrize("mistake", ["g", "w first", "raw integers"])
def test_one_sensor_alone_is_named(mistake: str, stream: Stream) -> None:
    change, reason, _ = MISTAKES[mistake]
    intake = Intake()
    feed(intake, changed(stream, change, "left_wrist"))
    assert len(intake.report(0.3)) == len(intake.remarks()) == 1
    assert intake.remarks()[0].startswith("left_wrist: ")
    assert not intake.refusals.count("neck")
    assert intake.refusals.count("left_wrist", reason)


def test_good_samples_pass_untouched(stream: Stream) -> None:
    intake = Intake()
    for site, sample in stream:
        usable = intake.push(site, sample)
        assert usable is not None
        assert np.array_equal(np.asarray(usable.orientation), np.asarray(sample.orientation))
    assert not intake.remarks()
    assert not intake.report()


@pytest.mark.parametrize("hours", [1, -1])
def test_a_sensor_with_a_different_clock_is_detected(hours: int, stream: Stream) -> None:
    off = round(hours * 3600e9)
    shifted = [(s, replace(x, stamp=x.stamp + 10**13)) for s, x in stream]
    intake = Intake()
    feed(intake, changed(shifted, lambda s: replace(s, stamp=s.stamp + off), "neck"))
    assert intake.refusals.count("neck", Reason.OTHER_CLOCK) > 0.98 * intake.refusals.total("neck")
    assert all(intake.refusals.count(s) <= 2 for s in SITES if s != "neck")
    side = "ahead of" if hours > 0 else "behind"
    assert f"60 min {side} those of the other sensors" in intake.remarks()[0]


def test_without_a_majority_both_clocks_are_named(stream: Stream) -> None:
    intake = Intake()
    wrists = [
        (s, replace(x, stamp=x.stamp + 5 * 10**9) if s.endswith("wrist") else x) for s, x in stream
    ]
    feed(intake, wrists)
    assert any(
        "left_wrist, right_wrist are 5.0 s ahead of those of pelvis, neck" in r
        for r in intake.remarks()
    )


def test_a_clock_that_is_set_for_all_sensors_costs_few_samples(stream: Stream) -> None:
    intake = Intake()
    middle = stream[len(stream) // 2][1].stamp
    jump = [
        (s, replace(x, stamp=x.stamp + (3600 * 10**9 if x.stamp > middle else 0)))
        for s, x in stream
    ]
    feed(intake, jump)
    assert sum(intake.refusals.count(site) for site in SITES) <= 8


# Orientation against the gyroscope


def with_glitches(stream: Stream, site: str, every: int) -> Stream:
    rng = np.random.default_rng(5)
    out = []
    k = 0
    for at, sample in stream:
        if at == site:
            k += 1
            if k % every == 0:
                wrong = rotations.normalise(rng.standard_normal(4))
                sample = replace(sample, orientation=wrong)
        out.append((at, sample))
    return out


@pytest.mark.parametrize("gyroscope", [True, False])
def test_single_wrong_quaternions_are_refused_and_nothing_else(
    gyroscope: bool, stream: Stream
) -> None:
    given = [
        (s, x if gyroscope else replace(x, angular_velocity=None))
        for s, x in with_glitches(stream, "left_wrist", 20)
    ]
    truth = dict(enumerate(stream))
    intake = Intake()
    for index, (site, sample) in enumerate(given):
        usable = intake.push(site, sample)
        if usable is not None:
            right = np.asarray(truth[index][1].orientation)
            limit = 8.5 if gyroscope else 45
            off = np.degrees(rotations.angle_between(right, np.asarray(usable.orientation)))
            assert off < limit
    wrong = sum(1 for site, _ in stream if site == "left_wrist") // 20
    assert intake.refusals.count("left_wrist", Reason.GLITCH) == pytest.approx(wrong, abs=1)
    assert "left_wrist: orientation" not in "".join(intake.remarks())
    assert all(not intake.refusals.count(s) for s in SITES if s != "left_wrist")


def test_a_reference_that_changes_is_believed_after_some_samples(stream: Stream) -> None:
    turn = rotations.about_z(1.0)
    middle = stream[len(stream) // 2][1].stamp
    given = [
        (
            s,
            replace(x, orientation=rotations.multiply(turn, np.asarray(x.orientation)))
            if x.stamp > middle and s == "neck"
            else x,
        )
        for s, x in stream
    ]
    intake = Intake()
    feed(intake, given)
    assert 1 <= intake.refusals.count("neck", Reason.GLITCH) <= 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w * 180 / np.pi, "deg/s"),
        (lambda w: w[[1, 2, 0]] * np.array([1, -1, 1]), "disagree about how the sensor turns"),
    ],
)
def test_a_gyroscope_that_is_wrong_refuses_nothing_for_long_and_is_named(
    change: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    stream = VirtualSensors(SensorNoise(), seed=1).samples(demo_motion(20.0), 60.0)
    intake = Intake()
    feed(
        intake,
        changed(
            stream,
            lambda s: replace(s, angular_velocity=change(np.asarray(s.angular_velocity))),
            "right_wrist",
        ),
    )
    assert intake.refusals.count("right_wrist") < 0.15 * intake.refusals.total("right_wrist")
    assert any(r.startswith("right_wrist") and words in r for r in intake.remarks())


def test_a_gyroscope_in_degrees_is_named_within_seconds() -> None:
    stream = VirtualSensors(SensorNoise(), seed=11).samples(demo_motion(7.0), 60.0)
    intake = Intake()
    feed(
        intake,
        changed(
            stream,
            lambda s: replace(s, angular_velocity=np.degrees(np.asarray(s.angular_velocity))),
        ),
    )
    remarks = [remark for remark in intake.remarks() if "angular velocity" in remark]
    assert remarks
    assert all("deg/s" in remark for remark in remarks)


def test_a_gyroscope_in_degrees_is_named_where_the_orientation_is_estimated() -> None:
    """There is no orientation for comparison, but no sensor turns so fast."""
    stream = VirtualSensors(SensorNoise(), seed=11).samples(demo_motion(7.0), 60.0)
    pipeline = PipelineSettings().pipeline()
    bodies = [
        body
        for site, sample in stream
        for body in pipeline.push(
            site,
            replace(
                sample,
                orientation=None,
                angular_velocity=np.degrees(np.asarray(sample.angular_velocity)),
            ),
        )
    ]
    assert not bodies
    assert "wrist: the angular velocity reaches" in pipeline.no_body_reason()
    assert "deg/s" in pipeline.no_body_reason()


def test_a_wrong_direction_that_shows_in_some_postures_makes_every_body_wrong() -> None:
    """The sensors are aligned with the world in the T-pose, so that their inverse orientations look
    correct there.
    """
    stream = VirtualSensors(SensorNoise(heading_walk=0.0), seed=11).samples(demo_motion(7.0), 60.0)
    intake = Intake()
    feed(
        intake,
        changed(stream, lambda s: replace(s, orientation=rotations.inverse(s.orientation))),
    )
    assert any("from world to sensor" in sentence for sentence in intake.meaningless())


# Estimated orientations


@pytest.mark.parametrize("missing", ["absent", "zero", "never filled in"])
def test_without_an_orientation_it_is_estimated_as_for_serial_sensors(missing: str) -> None:
    stream = VirtualSensors(SensorNoise(heading_walk=0.0), seed=2).samples(demo_motion(8.0), 60.0)
    value = {"absent": None, "zero": np.zeros(4), "never filled in": np.array([0.0, 0, 0, 1])}
    intake = Intake()
    first: dict[str, float] = {}
    worst = 0.0
    for site, sample in stream:
        usable = intake.push(site, replace(sample, orientation=value[missing]))
        if usable is None or sample.stamp < 3_000_000_000:
            continue
        # the heading begins anywhere: it is compared with itself
        apart = rotations.multiply(
            np.asarray(usable.orientation), rotations.inverse(np.asarray(sample.orientation))
        )
        heading = first.setdefault(site, float(rotations.turn_about_z(apart)))
        left = rotations.multiply(rotations.about_z(-heading), apart)
        worst = max(worst, float(np.degrees(rotations.angle_between(left, rotations.IDENTITY))))
    assert intake.estimated() == list(SITES)
    assert worst < 6.0
    assert not intake.remarks()


def test_an_orientation_lost_for_a_moment_is_not_replaced(stream: Stream) -> None:
    intake = Intake()
    middle = len(stream) // 2
    given = [
        (s, replace(x, orientation=None) if middle <= i < middle + 40 else x)
        for i, (s, x) in enumerate(stream)
    ]
    feed(intake, given)
    assert not intake.estimated()
    assert sum(intake.refusals.count(s, Reason.LOST_ORIENTATION) for s in SITES) == 40


def test_the_heading_continues_when_the_orientation_source_changes(stream: Stream) -> None:
    intake = Intake()
    headings: list[float] = []
    for site, sample in stream:
        blind = sample.stamp > 3_000_000_000 and site == "pelvis"
        usable = intake.push(site, replace(sample, orientation=None) if blind else sample)
        if usable is not None and site == "pelvis":
            apart = rotations.multiply(
                np.asarray(usable.orientation), rotations.inverse(np.asarray(sample.orientation))
            )
            headings.append(abs(float(np.degrees(rotations.turn_about_z(apart)))))
    assert intake.estimated() == ["pelvis"]
    assert max(headings) < 8.0


@pytest.mark.parametrize(
    ("factor", "words"), [(6.0, "10 samples a second are too few"), (1000.0, "milliseconds")]
)
def test_stamps_too_far_apart_are_named(factor: float, words: str, stream: Stream) -> None:
    intake = Intake()
    feed(intake, changed(stream, lambda s: replace(s, stamp=round(s.stamp * factor))))
    assert any(words in remark for remark in intake.remarks())


@pytest.mark.parametrize("rate", [1e300, np.nan, np.inf, 1e6])
@pytest.mark.parametrize("mode", ["auto", "6d"])
def test_an_angular_velocity_that_is_no_measurement_is_not_used(
    stream: Stream, rate: float, mode: str
) -> None:
    intake = Intake(mode)
    turning = np.array([0.0, rate, 0.0])
    taken = feed(intake, changed(stream[:400], lambda s: replace(s, angular_velocity=turning)))
    assert (taken > 0) == (mode == "auto")
