"""Run one task per recording, with local processes or the workers of a Dask cluster.

A failed task is reported and does not stop the others. Tasks whose result already exists are
skipped, so that an interrupted run can be resumed.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from pallas_ros.body.errors import PallasError

AHEAD = 4
"""Jobs queued per process: enough to keep it busy, without memory that grows with the number of
recordings.
"""
_LEAST_AHEAD = 64
"""Jobs queued for a cluster, which may grow."""
CONNECT_S = 10.0
"""Timeout for a response of the scheduler."""
WORKER_S = 60.0
"""Timeout for its first worker: an adaptive cluster starts workers when it has tasks."""

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Workers:
    """Workers to use.

    Attributes:
        jobs: number of local processes; 0: one per core.
        scheduler: address of a Dask scheduler (``tcp://host:8786``), whose workers are used
            instead. They must see the same files under the same paths.
    """

    jobs: int = 0
    scheduler: str = ""

    def __post_init__(self) -> None:
        """Validate.

        Raises:
            PallasError: a value is invalid.
        """
        if not 0 <= self.jobs <= 1024:
            raise PallasError(f"--jobs {self.jobs}: give 1 to 1024, or 0 for one per core")
        if self.scheduler and "://" not in self.scheduler:
            raise PallasError(
                f"--scheduler {self.scheduler[:80]}: give an address such as tcp://host:8786"
            )

    def place(self, path: Path) -> Path:
        """The path for the workers: absolute on a cluster, where the working directory differs."""
        return path.absolute() if self.scheduler else path

    def named(self, name: str) -> str:
        """Like `place`, for a file that may also be one of the package, or "" for none."""
        return str(self.place(Path(name))) if name and os.path.exists(name) else name


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """Result of a job.

    Attributes:
        job: as given.
        result: None if it failed.
        error: why it failed, in one sentence; empty otherwise.
    """

    job: Job
    result: Result | None
    error: str = ""


def run_tasks(
    jobs: Sequence[Job],
    work: Callable[[Job], Result],
    workers: Workers | None = None,
    what: str = "",
    unit: str = "recording",
) -> Iterator[Outcome[Job, Result]]:
    """Run ``work`` for every job; yield outcomes as they complete, with a progress bar.

    Args:
        jobs: one per recording; picklable.
        work: a module-level function with a picklable result.
        workers: by default one local process per core.
        what, unit: for the progress bar.

    Raises:
        PallasError: the Dask scheduler cannot be reached or has no worker, or Dask is not
            installed.
    """
    workers = workers or Workers()
    if workers.scheduler:
        outcomes = _by_dask(jobs, work, workers.scheduler)
    else:
        count = min(workers.jobs or os.cpu_count() or 1, len(jobs))
        outcomes = _here(jobs, work) if count <= 1 else _by_processes(jobs, work, count)
    yield from tqdm(
        outcomes, total=len(jobs), desc=what or None, unit=unit, leave=False, disable=None
    )


def _attempt(job: Job, work: Callable[[Job], Result]) -> Outcome[Job, Result]:
    """Run the work and convert a failure to an outcome, so that it does not stop the others."""
    try:
        return Outcome(job, work(job))
    except PallasError as error:
        return Outcome(job, None, str(error))
    except OSError as error:
        return Outcome(job, None, f"{error.filename or job}: {error.strerror or error}")
    except Exception as error:  # a bug in this package: report it and continue
        return Outcome(job, None, f"{job}: {type(error).__name__}: {error}")


def _here(jobs: Sequence[Job], work: Callable[[Job], Result]) -> Iterator[Outcome[Job, Result]]:
    for job in jobs:
        yield _attempt(job, work)


def _by_processes(
    jobs: Sequence[Job], work: Callable[[Job], Result], count: int
) -> Iterator[Outcome[Job, Result]]:
    following = iter(jobs)
    while waiting := list(islice(following, AHEAD * count)):
        suspects: list[Job] = []
        yield from _by_pool(waiting, following, work, count, suspects)
        for job in suspects:  # run separately, the responsible job is identified
            with ProcessPoolExecutor(1) as pool:
                try:
                    yield pool.submit(_attempt, job, work).result()
                except BrokenProcessPool:
                    yield Outcome(job, None, f"{job}: the worker process died (out of memory?)")


def _by_pool(
    first: Sequence[Job],
    following: Iterator[Job],
    work: Callable[[Job], Result],
    count: int,
    suspects: list[Job],
) -> Iterator[Outcome[Job, Result]]:
    """Run jobs until all are done, or until one of them terminates its process and breaks the pool;
    the running jobs are then ``suspects``.
    """
    with ProcessPoolExecutor(count) as pool:
        waiting = {pool.submit(_attempt, job, work): job for job in first}
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                job = waiting.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    suspects.append(job)
            for job in islice(following, 0 if suspects else AHEAD * count - len(waiting)):
                try:
                    waiting[pool.submit(_attempt, job, work)] = job
                except BrokenProcessPool:
                    suspects.append(job)


def _by_dask(
    jobs: Sequence[Job], work: Callable[[Job], Result], scheduler: str
) -> Iterator[Outcome[Job, Result]]:
    try:
        import distributed
    except ModuleNotFoundError:
        raise PallasError(
            "--scheduler needs Dask: run `make setup`, or pip install 'pallas-ros[cluster]'"
        ) from None
    try:
        client: Any = distributed.Client(scheduler, timeout=CONNECT_S)
    except (OSError, ValueError, TypeError, RuntimeError, ImportError) as error:
        # the last three: no certificates, or no library for this protocol
        reason = str(error).split("\n", maxsplit=1)[0]
        raise PallasError(
            f"--scheduler {scheduler[:80]}: no Dask scheduler answers there ({reason}); "
            "start one with `dask scheduler`"
        ) from None
    with client:
        following = iter(jobs)
        of: dict[str, Job] = {}

        def hand_over(number: int) -> list[Any]:
            handed = []
            for job in islice(following, number):
                handed.append(client.submit(_attempt, job, work=work, pure=False, retries=1))
                of[handed[-1].key] = job
            return handed

        threads = sum(client.ncores().values())
        waiting = distributed.as_completed(hand_over(max(AHEAD * threads, _LEAST_AHEAD)))
        _expect_worker(client, scheduler)
        for future in waiting:
            job = of.pop(future.key)
            try:
                outcome = future.result()
            except Exception as error:  # the worker died, or cannot import a required module
                outcome = Outcome(job, None, f"{job}: its worker failed: {error}")
            future.release()
            waiting.update(hand_over(1))
            yield outcome


def _expect_worker(client: Any, scheduler: str) -> None:
    """Wait for the first worker of a cluster."""
    try:
        client.wait_for_workers(1, timeout=WORKER_S)
    except TimeoutError:
        raise PallasError(
            f"--scheduler {scheduler[:80]}: it has had no worker for {WORKER_S:g} s; start one with"
            " `dask worker` and the same address"
        ) from None
