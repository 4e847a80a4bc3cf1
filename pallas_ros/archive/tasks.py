"""One task for each recording, by local processes or the workers of a Dask cluster.

A task that fails is reported and does not stop the others; tasks whose result is there already are
not run again, so that a run that was stopped carries on.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from pallas_ros.body.errors import PallasError

CONNECT_S = 10.0
"""How long a scheduler has to answer."""

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        jobs: local processes; 0: one for each core.
        scheduler: address of a Dask scheduler (``tcp://host:8786``), whose workers do it instead.
            They see the same files under the same paths.
    """

    jobs: int = 0
    scheduler: str = ""

    def __post_init__(self) -> None:
        """Check.

        Raises:
            PallasError: a value cannot be.
        """
        if not 0 <= self.jobs <= 1024:
            raise PallasError(f"--jobs {self.jobs}: give 1 to 1024, or 0 for one a core")
        if self.scheduler and "://" not in self.scheduler:
            raise PallasError(
                f"--scheduler {self.scheduler[:80]}: give an address such as tcp://host:8786"
            )


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """What became of a job.

    Attributes:
        job: as given.
        result: or None where it failed.
        error: why it failed, in one sentence; empty where it did not.
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
    """Do ``work`` for every job; outcomes as they come, with a progress bar that says when it ends.

    Args:
        jobs: one for each recording; picklable.
        work: a function of a module; what it returns is picklable.
        workers: by default one local process for each core.
        what, unit: for the progress bar.

    Raises:
        PallasError: the Dask scheduler cannot be reached, or Dask is not installed.
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
    """The work, a failure made an outcome: it must not stop the others."""
    try:
        return Outcome(job, work(job))
    except PallasError as error:
        return Outcome(job, None, str(error))
    except OSError as error:
        return Outcome(job, None, f"{error.filename or job}: {error.strerror or error}")
    except Exception as error:  # a fault of ours: the others go on, this one is named
        return Outcome(job, None, f"{job}: {type(error).__name__}: {error}")


def _here(jobs: Sequence[Job], work: Callable[[Job], Result]) -> Iterator[Outcome[Job, Result]]:
    for job in jobs:
        yield _attempt(job, work)


def _by_processes(
    jobs: Sequence[Job], work: Callable[[Job], Result], count: int
) -> Iterator[Outcome[Job, Result]]:
    left: list[Job] = []
    with ProcessPoolExecutor(count) as pool:
        waiting: dict[Future[Outcome[Job, Result]], Job] = {
            pool.submit(_attempt, job, work): job for job in jobs
        }
        for future in as_completed(waiting):
            try:
                yield future.result()
            except BrokenProcessPool:  # one of the jobs ended its process, which ends the pool
                left.append(waiting[future])
    for job in left:
        with ProcessPoolExecutor(1) as pool:  # alone, the job that does it is known
            try:
                yield pool.submit(_attempt, job, work).result()
            except BrokenProcessPool:
                yield Outcome(job, None, f"{job}: its process ended (out of memory?)")


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
    except (OSError, ValueError, TimeoutError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise PallasError(
            f"--scheduler {scheduler[:80]}: no Dask scheduler answers there ({reason}); "
            "start one with `dask scheduler`"
        ) from None
    with client:
        futures = client.map(_attempt, list(jobs), work=work, pure=False, retries=1)
        of = {future.key: job for future, job in zip(futures, jobs)}
        for future in distributed.as_completed(futures):
            try:
                outcome = future.result()
            except Exception as error:  # the worker died, or cannot import what it needs
                job = of[future.key]
                outcome = Outcome(job, None, f"{job}: its worker failed: {error}")
            future.release()
            yield outcome
