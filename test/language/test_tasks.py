"""Tasks over many recordings: local processes and Dask, failures, and finding recordings."""

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pallas_ros.archive import Workers, find_bags, find_recordings, is_bag_folder, run_tasks
from pallas_ros.archive.finding import is_newer
from pallas_ros.archive.tasks import AHEAD
from pallas_ros.body.errors import PallasError


def work(job: int) -> int:
    """Double the number; 3 is invalid input, 5 is a bug, 7 ends the process."""
    if job == 3:
        raise PallasError("three is not taken")
    if job == 5:
        raise ZeroDivisionError("five")
    if job == 7:
        os._exit(1)
    return 2 * job


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_does_not_stop_the_others(jobs: int) -> None:
    outcomes = {o.job: o for o in run_tasks([1, 2, 3, 4, 5, 6], work, Workers(jobs))}
    assert {job: o.result for job, o in outcomes.items()} == {
        1: 2,
        2: 4,
        3: None,
        4: 8,
        5: None,
        6: 12,
    }
    assert outcomes[3].error == "three is not taken"
    assert "ZeroDivisionError" in outcomes[5].error


def test_a_job_that_ends_its_process_is_named() -> None:
    outcomes = {o.job: o for o in run_tasks([1, 7, 2, *range(10, 40)], work, Workers(2))}
    assert outcomes[7].error.startswith("7: the worker process died")
    assert {outcomes[job].result for job in (1, 2)} == {2, 4}
    assert all(outcomes[job].result == 2 * job for job in range(10, 40))


def test_the_workers_of_a_cluster_do_the_same() -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        workers = Workers(scheduler=cluster.scheduler_address)
        outcomes = {o.job: o for o in run_tasks([1, 2, 3, *range(10, 150)], work, workers)}
    assert {outcomes[job].result for job in (1, 2, 3)} == {2, 4, None}
    assert all(outcomes[job].result == 2 * job for job in range(10, 150))
    assert outcomes[3].error == "three is not taken"


def test_few_of_many_jobs_are_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: all jobs were submitted at once, so an archive of 10^5 recordings needed 10^5
    futures.
    """
    handed = 0
    submit = ProcessPoolExecutor.submit

    def counted(pool: Any, *args: Any) -> Any:
        nonlocal handed
        handed += 1
        return submit(pool, *args)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", counted)
    found = []
    for number, outcome in enumerate(run_tasks(list(range(10, 210)), work, Workers(2))):
        found.append(outcome.job)
        assert handed <= number + 1 + 2 * AHEAD
    assert sorted(found) == list(range(10, 210))


def test_a_scheduler_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("pallas_ros.archive.tasks.CONNECT_S", 0.5)
    with pytest.raises(PallasError, match="no Dask scheduler answers"):
        list(run_tasks([1], work, Workers(scheduler="tcp://127.0.0.1:9")))


@pytest.mark.timeout(60)
def test_a_scheduler_without_workers_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: the command waited for ever."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("pallas_ros.archive.tasks.WORKER_S", 0.5)
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        workers = Workers(scheduler=cluster.scheduler_address)
        with pytest.raises(PallasError, match=r"no worker for 0.5 s"):
            list(run_tasks([1, 2], work, workers))


def test_recordings_are_found_and_hidden_files_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.npz").touch()
    (tmp_path / "a" / ".x.npz.index.npz").touch()
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "bag_0.mcap").touch()
    (tmp_path / "bag" / "note.npz").touch()
    (tmp_path / "loose.mcap").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.bvh").touch()
    deep = tmp_path / "deep"
    assert find_recordings(deep) == [deep / "d.bvh"]
    found = [str(p.relative_to(tmp_path)) for p in find_recordings(tmp_path)]
    assert found == ["a/x.npz", "bag", "deep/d.bvh", "loose.mcap"]
    assert find_bags(tmp_path) == [tmp_path / "bag", tmp_path / "loose.mcap"]


def test_bags_beside_each_other_are_not_one_bag(tmp_path: Path) -> None:
    """Regression: a folder with a bag file hid the motion files and other bags in it."""
    for name in ("monday.mcap", "tuesday.mcap", "walk.npz"):
        (tmp_path / name).touch()
    assert find_recordings(tmp_path) == [
        tmp_path / name for name in ("monday.mcap", "tuesday.mcap", "walk.npz")
    ]
    assert not is_bag_folder(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("run_0.mcap", "run_1.mcap", "note.npz"),
        ("a.mcap", "b.mcap", "metadata.yaml"),
        ("recording.db3",),
        ("recording.mcap", "readme.txt"),
    ],
)
def test_one_bag_is_one_bag(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert is_bag_folder(tmp_path)
    assert find_recordings(tmp_path) == [tmp_path]


@pytest.mark.parametrize("address", ["tls://127.0.0.1:9", "ucx://127.0.0.1:9"])
def test_a_protocol_that_is_not_set_up_is_reported(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: Dask raises TypeError without certificates."""
    pytest.importorskip("distributed")
    monkeypatch.setattr("pallas_ros.archive.tasks.CONNECT_S", 0.5)
    with pytest.raises(PallasError, match="no Dask scheduler answers"):
        list(run_tasks([1], work, Workers(scheduler=address)))


def test_a_dangling_link_in_a_bag_is_ignored(tmp_path: Path) -> None:
    """Regression: it stopped the work on all recordings."""
    bag = tmp_path / "bag"
    bag.mkdir()
    (bag / "bag_0.mcap").touch()
    (bag / "gone").symlink_to(tmp_path / "nothing")
    made = tmp_path / "made.html"
    made.touch()
    assert is_newer(made, bag)
    os.utime(made, (1, 1))
    assert not is_newer(made, bag)
