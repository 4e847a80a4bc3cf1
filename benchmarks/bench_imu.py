"""Measurements of IMU acquisition and calibration: fuzz, stamps, calibration, drift, throughput.

    python benchmarks/bench_imu.py fuzz --bytes 10000000
    python benchmarks/bench_imu.py stamps calibration drift throughput

Each prints a table; `--json FILE` writes the rows too.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pallas_ros.body import rotations
from pallas_ros.body.frames import ImuFrame
from pallas_ros.body.names import SITES
from pallas_ros.imu.clock import ClockMapper
from pallas_ros.imu.faults import Faults, afflicted, swaying
from pallas_ros.imu.field_model import CommonField
from pallas_ros.imu.guided import GuidedCalibrator
from pallas_ros.imu.heading import DriftModel, HeadingDrift
from pallas_ros.imu.motions import calibration_motion, demo_motion, everyday_motion
from pallas_ros.imu.orientation import OrientationFilter
from pallas_ros.imu.protocols import PROTOCOLS, Reading
from pallas_ros.imu.simulator import SensorSimulator
from pallas_ros.imu.virtual import SensorNoise, SensorTrack, VirtualSensors

Row = dict[str, Any]
FloatArray = NDArray[np.float64]

# Fuzz

_STEP = 0.15  # m/s^2: a digit of the number encoded in a measurement's acceleration
_DIGITS = 120


def numbered(index: int) -> Reading:
    """Return a reading whose acceleration encodes its number."""
    digits = index % _DIGITS, index // _DIGITS % _DIGITS, index // _DIGITS**2 % _DIGITS
    angle = index * 0.1
    return Reading(
        device_time=index * 0.01,
        acceleration=(_STEP * digits[0], _STEP * digits[1], _STEP * digits[2]),
        angular_velocity=(0.1, -0.2, 0.3),
        orientation=(0.0, 0.0, float(np.sin(angle / 2)), float(np.cos(angle / 2))),
    )


def number_of(reading: Reading) -> int | None:
    """Return the number in a reading's acceleration, or None if it has none."""
    if reading.acceleration is None:
        return None
    digits = [round(a / _STEP) for a in reading.acceleration]
    if any(
        abs(a - d * _STEP) > 0.02 or not 0 <= d < _DIGITS
        for a, d in zip(reading.acceleration, digits)
    ):
        return None
    return digits[0] + _DIGITS * digits[1] + _DIGITS**2 * digits[2]


def hostile(name: str, rng: np.random.Generator) -> Iterator[tuple[bytes, int | None]]:
    """Yield pieces of an endless stream: valid measurements (with their number) between garbage of
    all kinds (None).
    """
    encoder = PROTOCOLS[name].encoder()
    others = [spec.encoder() for other, spec in PROTOCOLS.items() if other != name]
    index = 0
    while True:
        kind = rng.integers(0, 6)
        if kind == 0:
            yield rng.bytes(int(rng.integers(1, 400))), None
        elif kind == 1:  # truncated
            whole = encoder.encode(numbered(1_000_000))
            yield whole[: int(rng.integers(1, len(whole)))], None
        elif kind == 2:
            # a flipped bit; without a checksum the measurement itself would change, so its
            # beginning is used
            damaged = bytearray(encoder.encode(numbered(1_000_000)))
            at = int(rng.integers(0, len(damaged))) if name not in ("ximu3", "csv") else 0
            damaged[at] ^= 1 << int(rng.integers(0, 8))
            yield bytes(damaged), None
        elif kind == 3:  # another sensor's bytes
            yield others[int(rng.integers(0, len(others)))].encode(numbered(5)), None
        elif kind == 4:  # header bytes
            yield (
                bytes(
                    rng.choice(
                        [0x55, 0xAA, 0xFA, 0xFF, 0x36, 0x24, 0xDB, 0x59, 0x51, 0xC9],
                        int(rng.integers(1, 30)),
                    ).astype(np.uint8)
                ),
                None,
            )
        for _ in range(int(rng.integers(1, 4))):
            yield encoder.encode(numbered(index)), index
            index += 1


def fuzz(name: str, total: int, seed: int = 0) -> Row:
    """Feed ``total`` hostile bytes in chunks of random size; count the valid measurements that are
    decoded.
    """
    rng = np.random.default_rng(seed)
    decoder = PROTOCOLS[name].decoder()
    sent = 0
    got = set[int]()
    spurious = 0
    fed = 0
    kept = 0
    pending = b""
    begun = time.process_time()
    with tqdm(
        total=total,
        desc=f"fuzz {name}",
        unit="B",
        unit_scale=True,
        leave=False,
        disable=total < 3_000_000,
    ) as bar:
        for piece, number in hostile(name, rng):
            sent += number is not None
            pending += piece
            if len(pending) < 2000:
                continue
            while pending:
                size = int(rng.integers(1, 300))
                for reading in decoder.feed(pending[:size]):
                    index = number_of(reading)
                    if index is not None and index < sent:
                        if reading.orientation is not None:
                            got.add(index)
                    elif index != 1_000_000:
                        spurious += 1
                fed += len(pending[:size])
                bar.update(len(pending[:size]))
                pending = pending[size:]
                kept = max(kept, len(decoder._rest) + len(getattr(decoder, "_doubted", b"")))  # type: ignore[attr-defined]
            if fed >= total:
                break
    # the last ones may still wait for the bytes that follow
    lost = sum(1 for index in range(sent - 4) if index not in got)
    rate = fed / (time.process_time() - begun) / 1e6
    return {
        "protocol": name,
        "bytes": fed,
        "valid sent": sent,
        "valid lost": lost,
        "spurious": spurious,
        "bytes kept": kept,
        "MB/s": rate,
    }


# Stamps


def stamps(
    rate_hz: float = 100.0,
    burst_s: float = 0.016,
    ppm: float = 50.0,
    seconds: float = 120.0,
    resolution_s: float = 0.0,
    seed: int = 0,
) -> Row:
    """Return the error of reconstructed timestamps relative to the true instants, with bytes
    delivered at multiples of ``burst_s``.
    """
    rng = np.random.default_rng(seed)
    true = np.arange(0, seconds, 1 / rate_hz) + 0.3 / rate_hz
    device = 500.0 + true * (1 + ppm * 1e-6)
    if resolution_s:
        device = np.floor(device / resolution_s) * resolution_s
    arrival = (np.ceil(true / burst_s) * burst_s if burst_s else true) + rng.exponential(
        0.0003, len(true)
    )
    arrival += np.where(
        rng.random(len(true)) < 0.01, rng.uniform(0, 0.03, len(true)), 0
    )  # the host was busy
    arrival = np.maximum.accumulate(arrival)
    mapper = ClockMapper()
    start = 10**18
    got = (
        np.array(
            [mapper.map(float(d), start + round(a * 1e9)) - start for d, a in zip(device, arrival)]
        )
        / 1e9
    )
    error = np.abs(got - true) * 1e3
    settled = true > 2.0
    return {
        "rate Hz": rate_hz,
        "burst ms": burst_s * 1e3,
        "drift ppm": ppm,
        "p50 ms": float(np.percentile(error[settled], 50)),
        "p99 ms": float(np.percentile(error[settled], 99)),
        "max ms": float(error[settled].max()),
        "first 2 s p99 ms": float(np.percentile(error[~settled], 99)),
        "arrival p99 ms": float(np.percentile((arrival - true) * 1e3, 99)),
        "skew found ppm": -mapper.skew * 1e6,
    }


# Calibration


def calibration(functional: bool = True, sloppy_deg: float = 0.0, wearers: int = 20) -> Row:
    """Return the error of bone orientations after the guided calibration, over simulated wearers
    and a minute of movement each.

    The mounting is random (without the functional part: as documented) with an error of 10 degrees,
    and the heading offset is 30 degrees. ``sloppy_deg`` is the standard deviation of every joint
    angle from the requested pose.
    """
    errors = []
    failed = 0
    for seed in range(wearers):
        rng = np.random.default_rng(seed)
        worn = {
            site: rotations.normalise(rng.standard_normal(4)) if functional else rotations.IDENTITY
            for site in SITES
        }
        noise = SensorNoise(
            mounting_error=float(np.radians(10)), heading_offset=float(np.radians(30))
        )
        sensors = VirtualSensors(noise, seed, worn)
        seeker = GuidedCalibrator(functional, None if functional else worn)
        motion = calibration_motion(
            functional,
            sloppy=(
                np.random.default_rng(seed + 1000).normal(0.0, sloppy_deg, 400)
                if sloppy_deg
                else None
            ),
        )
        found = next(
            (
                c
                for site, sample in sensors.samples(motion, 60.0)
                if (c := seeker.push(site, sample)) is not None
            ),
            None,
        )
        if found is None:
            failed += 1
            continue
        for site, track in sensors.tracks(everyday_motion(60.0, seed, fps=30), 60.0).items():
            q = rotations.multiply(
                rotations.about_z(found.sites[site].heading_offset), track.orientation
            )
            q = rotations.multiply(q, rotations.inverse(found.sites[site].q_bone_sensor))
            errors.append(np.degrees(rotations.angle_between(q, track.q_world_bone)).mean())
    by_site = np.array(errors).reshape(-1, len(SITES))
    row = {
        "procedure": "functional" if functional else "npose_tpose",
        "wearer misses by deg": sloppy_deg,
        "wearers": wearers,
        "refused": failed,
    }
    row |= {f"{site} deg": float(value) for site, value in zip(SITES, by_site.mean(axis=0))}
    return row | {"mean deg": float(by_site.mean()), "worst deg": float(by_site.max())}


# Drift


def headings(
    seed: int, magnetometer: bool, faults: Faults, minutes: float = 30.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Simulate half an hour of everyday movement with the driver's own orientation filter, before
    the body constraints.

    Returns:
        s (T,), bone orientations (T, 4, 4) as measured, every 0.1 s, their headings right on
        average from 2 to 3 s, in the still T-pose with which it begins (the calibration), and the
        true ones.
    """
    rate = 100.0
    motion = swaying(everyday_motion(minutes * 60, seed, fps=30), faults, seed)
    noise = SensorNoise(tilt_error=0, heading_walk=0, mounting_error=0.1)
    measured = []
    true = []
    times = []
    tracks = afflicted(VirtualSensors(noise, seed).tracks(motion, rate), faults, seed)
    for track, fused in zip(
        tracks.values(), _fused(list(tracks.values()), magnetometer, rate), strict=True
    ):
        q = rotations.multiply(fused, rotations.inverse(track.q_bone_sensor))[::10]
        bone = track.q_world_bone[::10]
        still = slice(round(2 * rate / 10), round(3 * rate / 10))
        fresh = round(3 * rate / 10)
        off = rotations.heading(rotations.multiply(q[still], rotations.inverse(bone[still])))
        calibrated = rotations.about_z(-float(np.angle(np.exp(1j * off).mean())))
        measured.append(rotations.multiply(calibrated, q)[fresh:])
        true.append(bone[fresh:])
        times.append(track.time[::10][fresh:])
    count = min(map(len, times))
    return (
        np.asarray(times[0][:count], np.float64),
        np.stack([q[:count] for q in measured], axis=1),
        np.stack([q[:count] for q in true], axis=1),
    )


def _fused(tracks: Sequence[SensorTrack], magnetometer: bool, rate: float) -> list[FloatArray]:
    """Return the orientations of four sensors from the driver's filters, sample by sample; the
    filters share the estimate of the field.
    """
    common = CommonField()
    filters = [OrientationFilter(magnetometer, rate, common) for _ in tracks]
    out: list[list[NDArray[np.floating]]] = [[] for _ in tracks]
    for i in tqdm(
        range(max(len(track.time) for track in tracks)), desc="drift", leave=False, disable=None
    ):
        for track, fused, q in zip(tracks, filters, out, strict=True):
            if i < len(track.time):
                q.append(
                    fused.update(
                        float(track.device_time[i]),
                        track.angular_velocity[i],
                        track.acceleration[i],
                        track.magnetic_field[i],
                    )
                )
    return [np.array(q) for q in out]


def drift(run: tuple[FloatArray, FloatArray, FloatArray], expected: float, name: str) -> list[Row]:
    """Return the heading error between trunk and forearms; ``expected``: parameter `heading_drift`,
    deg/min, 0 for no body constraints.
    """
    time, measured, true = run
    corrector = HeadingDrift(DriftModel.of(expected)) if expected else None
    fixed = measured.copy()
    moved = np.zeros((len(time), 4))
    for i, (t, q) in enumerate(zip(time, measured)):
        frame = ImuFrame(
            10**9 + round(t * 1e9),
            q,
            np.zeros((4, 3)),
            np.ones(4, bool),
            np.zeros(4),
            np.zeros(4),
            0,
        )
        if corrector is not None:
            frame = corrector.correct(frame)
            fixed[i] = frame.orientation
            moved[i] = np.degrees(frame.heading_drift)
    off = np.degrees(rotations.heading(rotations.multiply(fixed, rotations.inverse(true))))
    rows = []
    for a, b in ((1, 2), (1, 3), (0, 1)):
        apart = np.abs((off[:, b] - off[:, a] + 180) % 360 - 180)
        rows.append(
            {
                "sensors": name,
                "heading_drift": expected,
                "between": f"{SITES[a]}, {SITES[b]}",
                "p50 deg": float(np.median(apart)),
                "p95 deg": float(np.percentile(apart, 95)),
                "max deg": float(apart.max()),
                "share within 8 deg": float((apart < 8).mean()),
                "moved by constraints, deg": float(np.abs(moved[:, b] - moved[:, a]).max()),
            }
        )
    return rows


_AS_SAID = Faults(sway=0.0, ambient=0.0, own_field=0.0)
DRIFT_CASES = {
    "9 axes, as the issue says it": (True, _AS_SAID),
    "9 axes, hard": (True, Faults()),
    "6 axes, as the issue says it": (False, _AS_SAID),
    "6 axes, hard": (False, Faults()),
}


def drifts(
    seeds: Sequence[int] = (3, 4, 5), minutes: float = 30.0, cases: Sequence[str] | None = None
) -> list[Row]:
    """Return heading errors in the nominal and the harder scenario over wearers (seeds): medians,
    percentiles and maxima.

    Nominal: bias steps and steel. Harder: in addition, a swaying wearer and a varying indoor field.
    """
    rows: list[Row] = []
    for name in cases or DRIFT_CASES:
        magnetometer, faults = DRIFT_CASES[name]
        runs = [headings(seed, magnetometer, faults, minutes) for seed in seeds]
        for expected in (0.0, 1.0, 18.0):
            of_seeds = [drift(run, expected, name) for run in runs]
            for same in zip(*of_seeds):
                row = dict(same[0])
                for key in ("p50 deg", "p95 deg", "share within 8 deg"):
                    row[key] = float(np.mean([r[key] for r in same]))
                for key in ("max deg", "moved by constraints, deg"):
                    row[key] = max(r[key] for r in same)
                each = {
                    f"{key[:3]} of each wearer": " ".join(f"{r[key]:.1f}" for r in same)
                    for key in ("p95 deg", "max deg")
                }
                rows.append(row | each)
    return rows


# Throughput


def _simulate(folder: str, rate_hz: float, protocol: str) -> None:
    links = {site: Path(folder) / site for site in SITES}
    SensorSimulator(demo_motion(20.0), PROTOCOLS[protocol], rate_hz=rate_hz, links=links).start()
    threading.Event().wait(120.0)


def _spin(executor: Any, done: threading.Event) -> None:
    while not done.is_set():
        executor.spin_once(timeout_sec=0.2)


def throughput(
    rate_hz: float = 400.0,
    protocol: str = "witmotion",
    seconds: float = 10.0,
    orientation: str = "auto",
) -> Row:
    """Return the processor time of the driver node's process, with sensors simulated by another
    process.

    ``orientation`` is the driver's parameter. With "auto" the sensors' own quaternions are used and
    no filter runs; with "9d" four filters run.
    """
    import rclpy
    from rclpy.parameter import Parameter

    from pallas_ros.nodes.imu_driver import ImuDriverNode
    from pallas_ros.ros.run import make_executor

    with tempfile.TemporaryDirectory() as folder:
        arguments = [sys.executable, __file__, "--simulate", folder, str(rate_hz), protocol]
        simulator = subprocess.Popen(arguments)
        rclpy.init()
        settings = {
            "ports": [f"{folder}/{site}" for site in SITES],
            "protocols": [protocol],
            "port_wait_s": 30.0,
            "orientation": orientation,
        }
        node = ImuDriverNode(
            parameter_overrides=[Parameter(name, value=value) for name, value in settings.items()]
        )
        executor = make_executor()
        done = threading.Event()
        spinner = threading.Thread(target=_spin, args=(executor, done), daemon=True)
        try:
            node.bring("configure")
            node.bring("activate")
            executor.add_node(node)
            spinner.start()
            time.sleep(4.0)
            counted = sum(s.samples for s in node._driver.stats())
            used = resource.getrusage(resource.RUSAGE_SELF)
            begun = time.monotonic()
            time.sleep(seconds)
            now = resource.getrusage(resource.RUSAGE_SELF)
            passed = time.monotonic() - begun
            stats = node._driver.stats()
            return {
                "protocol": protocol,
                "orientation": orientation,
                "rate Hz": rate_hz,
                "samples/s": (sum(s.samples for s in stats) - counted) / passed,
                "core %": (
                    100 * (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / passed
                ),
                "lost": sum(s.lost for s in stats),
                "latency p50 ms": 1e3 * max(s.latency_s[0] for s in stats),
                "latency p99 ms": 1e3 * max(s.latency_s[1] for s in stats),
            }
        finally:
            simulator.kill()
            done.set()
            spinner.join(2.0)
            node.stop()
            node.destroy_node()
            rclpy.try_shutdown()


def table(rows: list[Row]) -> str:
    """Return rows as a Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for row in rows:
        cells = [
            f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the selected measurements."""
    if sys.argv[1:2] == ["--simulate"]:
        _simulate(sys.argv[2], float(sys.argv[3]), sys.argv[4])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", nargs="+", choices=["fuzz", "stamps", "calibration", "drift", "throughput"]
    )
    parser.add_argument("--bytes", type=int, default=10_000_000, help="of fuzz, for each protocol")
    parser.add_argument("--protocol", choices=PROTOCOLS, action="append", help="only this one")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=(3, 4, 5),
        help="of drift: the wearers; the filter's settings were chosen on 3 to 5",
    )
    parser.add_argument(
        "--case", choices=DRIFT_CASES, action="append", help="of drift: only this one"
    )
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    names = arguments.protocol or list(PROTOCOLS)
    results: dict[str, list[Row]] = {}
    for what in arguments.what:
        if what == "fuzz":
            rows = [fuzz(name, arguments.bytes) for name in names]
        elif what == "stamps":
            bursts = [
                (100, 0.016, 50),
                (100, 0.016, -50),
                (400, 0.016, 50),
                (60, 0.016, 50),
                (100, 0.0, 50),
                (100, 0.001, 500),
            ]
            rows = [stamps(rate, burst, ppm) for rate, burst, ppm in bursts] + [
                stamps(resolution_s=0.001)
            ]
        elif what == "calibration":
            cases = [(True, 0.0), (True, 4.0), (False, 0.0), (False, 4.0)]
            rows = [
                calibration(*case)
                for case in tqdm(cases, desc="calibration", leave=False, disable=None)
            ]
        elif what == "drift":
            rows = drifts(arguments.seeds, cases=arguments.case)
        else:
            rows = [
                throughput(rate, orientation=orientation)
                for orientation in ("auto", "9d")
                for rate in (400.0, 100.0)
            ]
        results[what] = rows
        print(f"\n{what}\n\n{table(rows)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
