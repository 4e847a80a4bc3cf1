"""Fuzzes a file format with damaged and hostile files, and counts hangs, crashes, tracebacks and
memory.

    python benchmarks/fuzz.py motion --inputs 100000
    python benchmarks/fuzz.py all --inputs 2000 --json fuzz.json
    python benchmarks/fuzz.py urdf --replay 1234
        what one input does, with its traceback

Each input is a valid file with random changes (`fuzz_formats.py`); its number and the seed
reproduce it. A worker process reads the inputs one after another. Its supervisor kills it if an
input takes more than ``HANG_S`` seconds of CPU time, and restarts it if it dies. An input must
be read, or be rejected with a `PallasError` of one short line. Inputs with any other outcome
are stored in ``--keep``.
"""

import argparse
import contextlib
import functools
import importlib.metadata
import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzz_formats import FORMATS, Format

from pallas_ros.core.errors import LONGEST_MESSAGE, PallasError

HANG_S = 5.0
"""Processor time of one input beyond which it counts as a hang; the slowest valid one takes well
under a second.
"""
WHOLE_EVERY = 16
"""One input in this many is processed completely, including smoothing and similar steps."""
DEAD_S = 120.0
"""Wall time without progress beyond which it counts as a hang as well."""
MEMORY_MB = 1000.0
_ADDRESS_SPACE = 12 << 30  # protects the machine; resident memory is what is measured


def input_of(form: Format, seeds: list[bytes], seed: int, number: int) -> bytes:
    """Return input ``number``: one of the valid files, mutated."""
    draw = random.Random(f"{form.name} {seed} {number}")
    return form.mutate(draw.choice(seeds), draw)


def attempt(form: Format, path: Path, whole: bool = True) -> str:
    """Read a file; return "read", "refused", or the fault."""
    try:
        form.read(path, whole)
    except PallasError as error:
        text = str(error)
        if not text or "\n" in text or len(text) > LONGEST_MESSAGE:
            return f"message: {len(text)} characters"
        return "refused"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return f"traceback: {type(error).__name__} at {place}: {str(error)[:80]}".replace("\n", " ")
    return "read"


def work(form: Format, folder: Path, seed: int, start: int, stop: int) -> int:
    """Run as worker: read inputs, and print outcome, CPU time in s and peak memory in MB of
    each.
    """
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "w", buffering=1)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    _look_up_plugins_once()
    seeds = form.seeds()
    path = folder / f"input{form.suffix}"
    for valid in seeds:  # imports and caches must not count for the first input
        path.write_bytes(valid)
        form.read(path)
    print(json.dumps([-1, "ready", 0, 0]), file=out)
    for number in range(start, stop):
        path.write_bytes(input_of(form, seeds, seed, number))
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak of resident memory
        begun = time.process_time()
        outcome = attempt(form, path, whole=number % WHOLE_EVERY == 0)
        print(json.dumps([number, outcome, time.process_time() - begun, peak_mb()]), file=out)
    return 0


def _look_up_plugins_once() -> None:
    """Cache the metadata of installed packages, which takes 12 ms to read and does not change."""
    importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)
    importlib.metadata.distribution = functools.cache(importlib.metadata.distribution)


def peak_mb() -> float:
    """Peak resident memory since it was last reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


@dataclass
class Tally:
    """Outcomes of the inputs of one format."""

    counts: Counter[str] = field(default_factory=Counter)
    found: dict[str, list[int]] = field(default_factory=dict)
    slowest_s: float = 0.0
    peak_mb: float = 0.0

    def add(self, number: int, outcome: str, seconds: float, memory: float) -> bool:
        """Count an input; return True for a fault."""
        self.slowest_s, self.peak_mb = max(self.slowest_s, seconds), max(self.peak_mb, memory)
        if seconds > HANG_S:
            outcome = "hang"
        elif memory > MEMORY_MB:
            outcome = "memory"
        self.counts[outcome.split(":")[0]] += 1
        if outcome in ("read", "refused"):
            return False
        self.found.setdefault(outcome, []).append(number)
        return True


class Watched:
    """A worker process and its output."""

    def __init__(self, form: Format, folder: Path, seed: int, start: int, stop: int) -> None:
        command = [sys.executable, __file__, form.name, "--seed", str(seed)]
        command += ["--work", str(folder), str(start), str(stop)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        self._handle = self.process.stdout.fileno()
        self._rest = b""

    def lines(self) -> list[list[Any]] | None:
        """Return new lines of output, waiting up to a second; None if the worker has ended."""
        if not select.select([self._handle], [], [], 1.0)[0]:
            return []
        data = os.read(self._handle, 1 << 16)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def processor_s(self) -> float:
        """Return its processor time so far."""
        try:
            words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> int:
        """Kill it; return its exit status."""
        self.process.kill()
        return self.process.wait()


def run(form: Format, inputs: int, seed: int, keep: Path) -> Tally:
    """Read ``inputs`` mutated files of a format, until Ctrl-C or SIGTERM."""
    tally = Tally()
    with contextlib.suppress(KeyboardInterrupt):
        _read_into(tally, form, inputs, seed, keep)
    return tally


def _read_into(tally: Tally, form: Format, inputs: int, seed: int, keep: Path) -> None:
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        while number < inputs:
            worker = Watched(form, Path(folder), seed, number, inputs)
            began = number
            said_at = time.monotonic()
            processor = worker.processor_s()
            ready = False
            outcome = ""
            try:
                while not outcome:
                    lines = worker.lines()
                    if lines is None:
                        status = worker.process.wait()
                        outcome = "done" if status == 0 else f"crash: {_death(status)}"
                        break
                    for done, what, seconds, memory in lines:
                        ready = True
                        said_at = time.monotonic()
                        processor = worker.processor_s()
                        if done < 0:
                            continue
                        number = done + 1
                        if tally.add(done, what, seconds, memory):
                            _keep(form, seed, done, keep)
                    busy = worker.processor_s() - processor
                    if ready and (busy > 2 * HANG_S or time.monotonic() - said_at > DEAD_S):
                        outcome = "hang"
                    _progress(form, number, inputs, tally)
            finally:
                worker.kill()
            if outcome != "done":
                if not ready:
                    raise SystemExit(f"{form.name}: a valid file ended the worker ({outcome})")
                tally.add(number, outcome, 0.0, 0.0)
                _keep(form, seed, number, keep)
                number += 1
            elif number == began:
                break


def _death(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _keep(form: Format, seed: int, number: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = input_of(form, form.seeds(), seed, number)
    (folder / f"{form.name}_{seed}_{number}{form.suffix}").write_bytes(data)


def _progress(form: Format, number: int, inputs: int, tally: Tally) -> None:
    if sys.stderr.isatty():
        print(f"\r{form.name}: {number} of {inputs} {dict(tally.counts)}", end="", file=sys.stderr)


def table(tallies: dict[str, Tally]) -> str:
    """Return the result as a Markdown table."""
    names = ("read", "refused", "hang", "crash", "traceback", "message", "memory")
    rows = [f"| format | inputs | {' | '.join(names)} | slowest s | peak MB |"]
    rows.append("|---" * (len(names) + 4) + "|")
    for name, tally in tallies.items():
        counts = " | ".join(str(tally.counts[key]) for key in names)
        rows.append(
            f"| {name} | {sum(tally.counts.values())} | {counts} "
            f"| {tally.slowest_s:.2f} | {tally.peak_mb:.0f} |"
        )
    return "\n".join(rows)


def rows(tallies: dict[str, Tally]) -> dict[str, Any]:
    """Return the result as rows of figures (docs/guide/conventions.md)."""
    return {
        "rows": [
            {"name": "fuzz", "case": name, "metric": metric, "value": value, "unit": unit}
            for name, tally in tallies.items()
            for metric, value, unit in (
                ("inputs", sum(tally.counts.values()), ""),
                *((key, tally.counts[key], "") for key in sorted(tally.counts)),
                ("slowest", round(tally.slowest_s, 3), "s"),
                ("peak_memory", round(tally.peak_mb), "MB"),
            )
        ]
    }


def main() -> int:
    """Run; return 0 if every input was read or rejected."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("format", choices=[*FORMATS, "all"])
    parser.add_argument("--inputs", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep", type=Path, default=Path("out/fuzz_found"), help="folder of findings"
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument(
        "--replay", type=int, metavar="N", help="read input N, and show what it does"
    )
    parser.add_argument("--work", nargs=3, metavar=("FOLDER", "START", "STOP"), help="as a worker")
    args = parser.parse_args()
    if args.work:
        folder, start, stop = args.work
        return work(FORMATS[args.format], Path(folder), args.seed, int(start), int(stop))
    if args.replay is not None:
        form = FORMATS[args.format]
        _keep(form, args.seed, args.replay, args.keep)
        path = args.keep / f"{form.name}_{args.seed}_{args.replay}{form.suffix}"
        print(path)
        form.read(path)
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):  # also if the shell ignores Ctrl-C
        signal.signal(number, signal.default_int_handler)
    chosen = list(FORMATS.values()) if args.format == "all" else [FORMATS[args.format]]
    tallies = {form.name: run(form, args.inputs, args.seed, args.keep) for form in chosen}
    print(table(tallies))
    for name, tally in tallies.items():
        for outcome, numbers in tally.found.items():
            print(f"{name}: {outcome} ({len(numbers)} times, first: input {numbers[0]})")
    if args.json:
        args.json.write_text(json.dumps(rows(tallies), indent=1) + "\n")
    return 1 if any(tally.found for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
