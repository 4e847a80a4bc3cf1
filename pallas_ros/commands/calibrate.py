"""`pallas calibrate`: guide the wearer through a calibration and save it."""

import argparse
import json
import queue
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import load_motion
from pallas_ros.body.names import EXTRA_SITES, JOINTS, SITES
from pallas_ros.body.resources import expanded
from pallas_ros.body.sites import worn_sites
from pallas_ros.files.overwriting import check_outputs
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.driver import ImuDriver, check_baud_rate
from pallas_ros.imu.guided import GuidedCalibrator
from pallas_ros.imu.intake import Intake
from pallas_ros.imu.motions import calibration_motion, demo_motion
from pallas_ros.imu.procedures import PROCEDURES, Calibrator, calibrator
from pallas_ros.imu.protocols import PROTOCOLS
from pallas_ros.imu.recording import ALL
from pallas_ros.imu.sample import ImuSample
from pallas_ros.imu.virtual import SensorNoise, VirtualSensors
from pallas_ros.pipeline.recorded import open_source

HELP = "Calibrate the worn sensors step by step."

EXAMPLE = """\
examples:
  pallas calibrate me.yaml --ports /dev/ttyUSB0 /dev/ttyUSB1 /dev/ttyUSB2 /dev/ttyUSB3
  pallas calibrate me.yaml --ports auto --protocol xsens
      asks you to shake each sensor, then guides you through the steps
  pallas calibrate me.yaml --ports /dev/ttyUSB0 /dev/ttyUSB1 /dev/ttyUSB2 /dev/ttyUSB3 --baud 9600
  pallas calibrate me.yaml --simulate
      with simulated sensors, mounted with errors of 10 degrees
  pallas calibrate me.yaml --from session.npz --procedure tpose
  pallas calibrate me.yaml --check --ports usb:A1 usb:A2 usb:A3 usb:A4
      checks whether the file belongs to these sensors

procedures:
"""
EXAMPLE += "\n".join(f"  {name:12} {asks}" for name, asks in PROCEDURES.items())

Timed = tuple[str, ImuSample | None]

_LOOK_S = 1.0
"""Interval between checks for sensors that send nothing."""
_MOST = 0.3
"""Share of rejected samples of a sensor that explains a missing calibration."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "file", metavar="FILE", help="calibration file (.yaml) to write, or with --check to read"
    )
    parser.add_argument(
        "--procedure",
        default="functional",
        choices=list(PROCEDURES),
        help="procedure (default: functional)",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--ports", nargs="+", metavar="PORT", help=f"ports of {', '.join(SITES)}, or auto"
    )
    source.add_argument(
        "--simulate", action="store_true", help="use simulated sensors and a simulated wearer"
    )
    source.add_argument(
        "--from",
        dest="recording",
        metavar="IN",
        help="an IMU recording or a bag of the procedure",
    )
    parser.add_argument(
        "--extra-sites",
        nargs="+",
        default=[],
        metavar="SITE",
        help=(
            "optional sensors, worn with x forward and z up in the T-pose:"
            f" {', '.join(EXTRA_SITES)}; list their ports after the first four"
        ),
    )
    parser.add_argument(
        "--protocol", default="witmotion", choices=list(PROTOCOLS), help="protocol of the sensors"
    )
    parser.add_argument(
        "--baud",
        type=int,
        default=0,
        metavar="RATE",
        help=(
            "baud rate of the ports (default: the protocol's; if it cannot be decoded, its other"
            " rates)"
        ),
    )
    parser.add_argument(
        "--orientation",
        default="auto",
        choices=("auto", "sensor", "6d", "9d"),
        help="orientation of the sensors, or estimated by VQF",
    )
    parser.add_argument(
        "--as-documented",
        action="store_true",
        help="the sensors are worn as in docs/guide/sensors.md: a sensor that is upside down"
        " is detected",
    )
    parser.add_argument(
        "--pose",
        metavar="MOTION",
        help="pose of the procedure known_pose: a motion file whose first frame is used",
    )
    parser.add_argument(
        "--still", type=float, default=1.5, metavar="S", help="how long to hold still, s"
    )
    parser.add_argument(
        "--timeout", type=float, default=180.0, metavar="S", help="give up after this time, s"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulated sensors")
    parser.add_argument(
        "--check",
        action="store_true",
        help="only check whether FILE belongs to the sensors at --ports",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Calibrate and save, or check.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    path = expanded(args.file)
    if path.suffix not in (".yaml", ".yml"):
        raise PallasError(f"{path}: a calibration file ends in .yaml")
    if not (args.ports or args.simulate or args.recording):
        raise PallasError(
            "no sensors given: give --ports (four, or auto), --from a recording, or --simulate"
        )
    check_baud_rate("--baud", args.baud)
    if not 0.5 <= args.still <= 10 or not 0 < args.timeout <= 86400 or args.seed < 0:
        raise PallasError(
            f"--still {args.still:g} --timeout {args.timeout:g} --seed {args.seed}: give 0.5 to"
            " 10 s, more than 0 s and at most a day, and a seed from 0"
        )
    if args.check:
        return _check(path, args)
    check_outputs([path], [args.recording, args.pose])
    driver = None
    sensors = dict[str, str]()
    if args.ports:
        driver, samples = _live(args)
    elif args.recording:
        source = open_source(args.recording, extra_sites=args.extra_sites)
        samples = source.samples
        sensors = source.sensors
    else:
        samples = iter(_simulated(args))
    try:
        seeker = _calibrator(args, path)
        intake = Intake(sites=_sites(args))
        found = seek(seeker, samples, quiet=args.json, intake=intake)
        sensors = driver.sensors() if driver is not None else sensors
        if driver is not None:
            found.warnings += driver.notices()
        found.check_sensors(sensors)  # the procedure 'rest' keeps the mounting from the file
        if seeker.mounts:
            found.name_sensors(sensors)
    finally:
        if driver is not None:
            driver.stop()
    found.save(path)
    _report(found, path, args.json)
    return 0


def seek(
    seeker: Calibrator,
    samples: Iterator[Timed],
    quiet: bool = False,
    intake: Intake | None = None,
) -> Calibration:
    """Feed samples until there is a calibration; print instructions and problems.

    Raises:
        PallasError: the samples end before that.
    """
    last_line = ""
    intake = intake or Intake()
    for site, sample in samples:
        if sample is None:
            intake.unreadable(site)
            continue
        usable = intake.push(site, sample)
        found = None if usable is None else seeker.push(site, usable)
        if found is not None:
            return found
        steps = (
            f"[{len(seeker.finished) + 1}/{len(seeker.steps)}] "
            if isinstance(seeker, GuidedCalibrator)
            else ""
        )
        # the figure changes constantly
        words = seeker.problem.split(" (")[0] if "turning" in seeker.problem else seeker.problem
        if usable is None and not quiet:
            words = _without_counts(intake) or words
        if not quiet and words != last_line:
            last_line = words
            print(f"{steps}{last_line}", flush=True)
    why = intake.report(_MOST) or seeker.mistakes or [seeker.problem]
    raise PallasError(f"no calibration: {'; '.join(why) or 'the recording ends too early'}")


def _without_counts(intake: Intake) -> str:
    """Return current rejections without counts, so that each is printed only once."""
    return "; ".join(re.sub(r": \d+ of \d+ samples", ": samples", r) for r in intake.remarks())


def _calibrator(args: argparse.Namespace, path: Path) -> Calibrator:
    joints = None
    if args.procedure == "known_pose":
        if not args.pose:
            raise PallasError(
                "the procedure 'known_pose' needs --pose, a motion file whose first frame is the"
                " pose"
            )
        joints = dict(zip(JOINTS, load_motion(args.pose).rotations[0].tolist(), strict=True))
    current = Calibration.load(path) if args.procedure == "rest" else None
    worn = dict.fromkeys(_sites(args), rotations.IDENTITY) if args.as_documented else None
    return calibrator(args.procedure, args.still, joints, current, worn, sites=_sites(args))


def _sites(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the worn sites; if all are requested, those in the recording."""
    if args.extra_sites == [ALL] and args.recording:
        return (*SITES, *open_source(args.recording, extra_sites=args.extra_sites).extra_sites)
    return worn_sites((*SITES, *args.extra_sites))


def _live(args: argparse.Namespace) -> tuple[ImuDriver, Iterator[Timed]]:
    heard: queue.Queue[Timed] = queue.Queue()
    driver = ImuDriver(
        args.ports,
        [args.protocol],
        lambda site, sample: heard.put((site, sample)),
        baud_rate=args.baud,
        orientation=args.orientation,
        sites=_sites(args),
    )
    driver.check(1.0)
    driver.start()

    def samples() -> Iterator[Timed]:
        until = time.monotonic() + args.timeout
        look = time.monotonic() + _LOOK_S
        said = ""
        while time.monotonic() < until:
            with suppress(queue.Empty):
                yield heard.get(timeout=0.5)
            words = driver.request or ""
            if time.monotonic() > look:  # also while the other sensors send
                look = time.monotonic() + _LOOK_S
                words = words or ("" if args.json else "; ".join(driver.problems()))
            if words and words != said:
                said = words
                print(words, file=sys.stderr if args.json else sys.stdout, flush=True)

    return driver, samples()


def _simulated(args: argparse.Namespace) -> Sequence[Timed]:
    rng = np.random.default_rng(args.seed)
    functional = args.procedure == "functional"
    any_way = functional and not args.as_documented
    worn = {
        site: (
            rotations.normalise(rng.standard_normal(4))
            if any_way and site in SITES
            else rotations.IDENTITY
        )
        for site in _sites(args)
    }
    motion = (
        calibration_motion(functional)
        if args.procedure in ("functional", "npose_tpose")
        else demo_motion(5.0)
    )
    noise = SensorNoise(mounting_error=float(np.radians(10)), heading_offset=float(np.radians(30)))
    return VirtualSensors(noise, args.seed, worn, _sites(args)).samples(motion)


def _check(path: Path, args: argparse.Namespace) -> int:
    if not args.ports:
        raise PallasError("--check needs the sensors: give --ports")
    calibration = Calibration.load(path)
    driver, samples = _live(args)
    try:
        heard: set[str] = set()
        for site, _ in samples:
            heard.add(site)
            if len(heard) == len(driver.sites):
                break
        else:
            silent = ", ".join(site for site in driver.sites if site not in heard)
            why = driver.request or "; ".join(driver.problems()) or "check wiring and power"
            raise PallasError(f"{path}: not checked, no data from {silent}: {why}")
        sensors = driver.sensors()
        calibration.check_sensors(sensors)
    finally:
        driver.stop()
    if args.json:
        document = {"file": str(path), "procedure": calibration.procedure, "sensors": sensors}
        print(json.dumps(document))
        return 0
    print(f"{path}: belongs to these sensors ({calibration.procedure}, {calibration.date})")
    return 0


def _report(found: Calibration, path: Path, as_json: bool) -> None:
    if as_json:
        rows: dict[str, Any] = {
            site: {
                "residual_deg": float(np.degrees(s.residual)),
                "heading_offset_deg": float(np.degrees(s.heading_offset)),
                "sensor": s.sensor,
            }
            for site, s in found.sites.items()
        }
        print(
            json.dumps(
                {
                    "file": str(path),
                    "procedure": found.procedure,
                    "warnings": found.warnings,
                    "sites": rows,
                }
            )
        )
        return
    print(
        f"{'site':12} {'residual':>9} {'heading':>9} {'gyroscope bias':>15} {'1 g reads':>10} "
        " sensor"
    )
    for site, s in found.sites.items():
        bias = np.degrees(np.linalg.norm(s.gyroscope_bias))
        print(
            f"{site:12} {np.degrees(s.residual):6.1f} deg {np.degrees(s.heading_offset):5.0f} deg"
            f" {bias:9.2f} deg/s {9.80665 / s.acceleration_scale:10.3f}  {s.sensor}"
        )
    for warning in found.warnings:
        print(f"warning: {warning}")
    print(f"{path}: calibrated ({found.procedure})")
