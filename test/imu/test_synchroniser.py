"""The synchroniser: any rates, jitter, losses and clocks give one time grid, and it never
stalls.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallas_ros.body import rotations
from pallas_ros.body.frames import ImuFrame
from pallas_ros.body.names import SITES
from pallas_ros.imu.synchroniser import NANOSECONDS, Synchroniser, grid_stamp

START = 1_000_000_000_000


def orientation_at(stamp: int, site: str) -> np.ndarray:
    """A constant rotation of 1 rad/s, about a different axis per site, which interpolation
    reproduces exactly.
    """
    axis = np.eye(3)[SITES.index(site) % 3]
    return rotations.from_rotvec(axis * (stamp - START) / NANOSECONDS * 1.0)


def acceleration_at(stamp: int) -> np.ndarray:
    return np.array([(stamp - START) / NANOSECONDS, 2.0, -1.0])


def stream(
    rate: float, duration: float, rng: np.random.Generator, jitter: float = 0.0, loss: float = 0.0
) -> list[int]:
    times = np.arange(0, duration, 1 / rate) + rng.uniform(
        0, jitter / rate, int(np.ceil(duration * rate))
    )
    return [START + int(t * NANOSECONDS) for t in times[rng.random(len(times)) >= loss]]


def play(sync: Synchroniser, streams: dict[str, list[int]]) -> list[ImuFrame]:
    events = sorted((stamp, site) for site, stamps in streams.items() for stamp in stamps)
    return [
        frame
        for stamp, site in events
        for frame in sync.push(site, stamp, orientation_at(stamp, site), acceleration_at(stamp))
    ]


def assert_on_grid(frames: list[ImuFrame]) -> None:
    indices = [round(frame.stamp * 60 / NANOSECONDS) for frame in frames]
    assert [grid_stamp(i) for i in indices] == [frame.stamp for frame in frames]
    assert np.all(np.diff(indices) == 1)


@settings(max_examples=25, deadline=None)
@given(
    rates=st.lists(st.floats(90, 400), min_size=4, max_size=4),
    jitter=st.floats(0, 0.9),
    seed=st.integers(0, 1000),
)
def test_frames_lie_on_the_grid_and_hold_the_interpolated_truth(
    rates: list[float], jitter: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    streams = {
        site: stream(rate, 1.0, rng, jitter) for site, rate in zip(SITES, rates, strict=True)
    }
    frames = play(Synchroniser(), streams)
    assert len(frames) >= 56
    assert_on_grid(frames)
    for frame in frames:
        for i, site in enumerate(SITES):
            assert frame.valid[i]
            off = rotations.angle_between(frame.orientation[i], orientation_at(frame.stamp, site))
            assert off <= max(frame.age[i] * 1.0, 1e-7) + 1e-9
        assert frame.newest_input <= max(max(s) for s in streams.values())
    bracketed = [f for f in frames if not f.age.any()]
    for frame in bracketed:
        np.testing.assert_allclose(
            frame.acceleration, np.tile(acceleration_at(frame.stamp), (4, 1)), atol=1e-6
        )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_thirty_hertz_with_loss_gives_every_frame(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = play(
        Synchroniser(),
        {site: stream(30 if i else 400, 3.0, rng, 0.5, 0.1) for i, site in enumerate(SITES)},
    )
    assert_on_grid(frames)
    assert len(frames) >= 160


def test_the_same_samples_give_the_same_frames() -> None:
    rng = np.random.default_rng(3)
    streams = {site: stream(100, 2.0, rng, 0.8, 0.05) for site in SITES}
    first = play(Synchroniser(), streams)
    second = play(Synchroniser(), streams)
    assert [f.stamp for f in first] == [f.stamp for f in second]
    assert all(
        np.array_equal(a.orientation, b.orientation) and np.array_equal(a.age, b.age)
        for a, b in zip(first, second, strict=True)
    )


def test_a_silent_site_is_held_then_marked_then_welcomed_back() -> None:
    rng = np.random.default_rng(0)
    streams = {site: stream(100, 9.0, rng, 0.2) for site in SITES}
    off = START + 2 * NANOSECONDS
    on = START + 7 * NANOSECONDS
    streams["left_wrist"] = [s for s in streams["left_wrist"] if not off < s < on]
    sync = Synchroniser()
    frames = play(sync, streams)
    assert_on_grid(frames)  # it never stalls
    i = SITES.index("left_wrist")
    for frame in frames:
        silent = (frame.stamp - off) / NANOSECONDS
        if frame.stamp < off - NANOSECONDS // 50 or frame.stamp > on + NANOSECONDS // 50:
            assert frame.valid[i]
        elif 0.12 < silent < 4.9 - 0.1:
            assert not frame.valid[i]
            assert frame.age[i] == pytest.approx(silent, abs=0.03)
        elif 0 < silent < 0.08:
            assert frame.valid[i]
        assert frame.valid[[k for k in range(4) if k != i]].all()


def test_the_bounded_wait_is_measured_between_stamps() -> None:
    sync = Synchroniser(max_wait_s=0.012)
    base = grid_stamp(600_000)
    for site in SITES:
        sync.push(site, base - 2_000_000, rotations.IDENTITY, np.zeros(3))
        sync.push(site, base - 1_000_000, rotations.IDENTITY, np.zeros(3))
    assert sync.push("pelvis", base + 12_000_000, rotations.IDENTITY, np.zeros(3)) == []
    frames = sync.push("pelvis", base + 12_000_001, rotations.IDENTITY, np.zeros(3))
    assert [f.stamp for f in frames] == [base]
    assert frames[0].age[0] == 0
    np.testing.assert_allclose(frames[0].age[1:], 0.001)


def test_bad_samples_are_counted_by_reason_and_change_nothing() -> None:
    rng = np.random.default_rng(1)
    streams = {site: stream(100, 2.0, rng) for site in SITES}
    clean = play(Synchroniser(), streams)
    sync = Synchroniser()
    frames = []
    last = 0
    for n, (stamp, site) in enumerate(
        sorted((s, site) for site, stamps in streams.items() for s in stamps)
    ):
        q = orientation_at(stamp, site)
        a = acceleration_at(stamp)
        frames += sync.push(site, stamp, q, a)
        bad = n % 6
        if bad == 0:
            frames += sync.push(site, stamp + 1, q * np.nan, a)
        elif bad == 1:
            frames += sync.push(site, stamp + 1, q * 1.2, a)
        elif bad == 2:
            frames += sync.push(site, stamp + 1, q, a + 16.1 * 9.81)
        elif bad == 3:
            frames += sync.push(site, stamp, q, a)
        elif bad == 4:
            frames += sync.push(site, stamp - 5_000_000_00, q, a)
        else:
            frames += sync.push(site, stamp + 5 * NANOSECONDS, q, a)
        last = n
    assert last > 700
    totals = sum(sync.counts.values(), start=type(sync.counts["pelvis"])())
    assert set(totals) == {
        "not finite",
        "quaternion not of unit length",
        "acceleration over 16 g",
        "duplicate stamp",
        "stamp goes back",
        "stamp jumps ahead",
    }
    assert [f.stamp for f in frames] == [f.stamp for f in clean]
    for a, b in zip(frames, clean, strict=True):
        np.testing.assert_array_equal(a.orientation, b.orientation)


def test_a_silence_of_all_sites_is_left_out() -> None:
    rng = np.random.default_rng(2)
    streams = {
        site: [
            s
            for s in stream(100, 12.0, rng)
            if not START + 2 * NANOSECONDS < s < START + 10 * NANOSECONDS
        ]
        for site in SITES
    }
    sync = Synchroniser()
    frames = play(sync, streams)
    stamps = np.array([f.stamp for f in frames]) - START
    assert not np.any((stamps > 2.05 * NANOSECONDS) & (stamps < 9.95 * NANOSECONDS))
    assert sync.skipped > 400
    assert np.sum(stamps > 10.1 * NANOSECONDS) > 100
    assert all(f.valid.all() for f in frames if f.stamp - START > 10.1 * NANOSECONDS)


@pytest.mark.parametrize("wrong_first", [START + 10**13, 1])
def test_one_wrong_stamp_at_the_start_does_not_stall_it(wrong_first: int) -> None:
    sync = Synchroniser()
    sync.push("neck", wrong_first, rotations.IDENTITY, np.zeros(3))
    frames = play(sync, {site: stream(100, 3.0, np.random.default_rng(0)) for site in SITES})
    assert len(frames) > 120


def test_a_clock_set_back_restarts() -> None:
    sync = Synchroniser()
    rng = np.random.default_rng(0)
    assert play(sync, {site: stream(100, 2.0, rng) for site in SITES})
    again = play(sync, {site: stream(100, 2.0, rng) for site in SITES})
    assert len(again) > 80


def test_a_silent_site_is_not_waited_for() -> None:
    rng = np.random.default_rng(0)
    frames = play(Synchroniser(), {site: stream(100, 2.0, rng) for site in SITES if site != "neck"})
    assert len(frames) > 110
    assert not any(f.valid[SITES.index("neck")] for f in frames)


def _pushed(synchroniser: Synchroniser, stamps: dict[str, list[int]]) -> list[int]:
    """Return the stamps of the frames from samples pushed site by site at each instant."""
    frames: list[int] = []
    for instant in range(max(map(len, stamps.values()))):
        for site, of_site in stamps.items():
            if instant < len(of_site):
                made = synchroniser.push(site, of_site[instant], rotations.IDENTITY, np.zeros(3))
                frames += [frame.stamp for frame in made]
    return frames


@settings(max_examples=30)
@given(
    st.integers(0, 3 * 59),
    st.sampled_from([-3600.0, -5.0, -0.9, 0.9, 5.0, 3600.0]),
    st.booleans(),
)
def test_one_bad_stamp_costs_at_most_a_second(at: int, off_s: float, then_silent: bool) -> None:
    """For any sample, including the very first, and also if its site is silent afterwards."""
    begun = 1_800_000_000 * 10**9
    stamps = {site: [begun + k * 10**7 for k in range(200)] for site in SITES}
    site = SITES[at % 3]
    instant = at // 3
    stamps[site][instant] += round(off_s * 1e9)
    if then_silent:
        del stamps[site][instant + 1 :]
    frames = _pushed(Synchroniser(), stamps)
    end = begun + 2 * 10**9
    assert len([stamp for stamp in frames if end - 4 * 10**8 <= stamp < end]) >= 22


@pytest.mark.parametrize("back_s", [0.5, 3600.0])
def test_a_clock_that_is_set_back_is_followed_and_reported(back_s: float) -> None:
    begun = 1_800_000_000 * 10**9
    back = round(back_s * 1e9)
    stamps = {
        site: [begun + k * 10**7 - (back if k >= 300 else 0) for k in range(600)] for site in SITES
    }
    synchroniser = Synchroniser()
    frames = _pushed(synchroniser, stamps)
    after = begun + 3 * 10**9 - back
    assert len([stamp for stamp in frames if after <= stamp < after + 3 * 10**9]) > 140
    assert synchroniser.set_back >= 1
    assert any("the sensors' clock went back by" in remark for remark in synchroniser.remarks())
