"""Tasks over many recordings: local processes and Dask, failures, and finding recordings."""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pallas_ros.archive import (
    Outcome,
    Workers,
    find_bags,
    find_recordings,
    is_bag_folder,
    run_tasks,
)
from pallas_ros.archive.finding import is_newer
from pallas_ros.archive.tasks import AHEAD
from pallas_ros.body.errors import PallasError
from pallas_ros.cli import main
from pallas_ros.commands.process import Conversion, _jobs, is_done
from pallas_ros.pipeline import PipelineSettings


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


def test_workers_of_a_cluster_get_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: they looked for relative paths in their own working directory."""
    monkeypatch.chdir(tmp_path)
    Path("mine.onnx").touch()
    cluster = Workers(scheduler="tcp://host:1")
    assert cluster.place(Path("bags/a")) == tmp_path / "bags" / "a"
    assert cluster.named("mine.onnx") == str(tmp_path / "mine.onnx")
    assert cluster.named("models/of_the_package.onnx") == "models/of_the_package.onnx"
    assert cluster.named("") == ""
    assert Workers().place(Path("bags/a")) == Path("bags/a")
    assert Workers().named("mine.onnx") == "mine.onnx"


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("pallas_ros.commands.process", ["process", "bags", "motions"]),
        ("pallas_ros.commands.report", ["report", "bags", "-o", "pages"]),
        ("hpstm_ros.commands.search", ["search", "walk", "bags"]),
    ],
)
def test_every_command_hands_absolute_paths_to_a_cluster(
    module: str,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / "bags" / name).mkdir(parents=True)
        (tmp_path / "bags" / name / f"{name}_0.mcap").touch()
    handed: list[Any] = []

    def tasks(jobs: list[Any], work: Any, workers: Workers, *_: str) -> list[Outcome[Any, Any]]:
        handed.extend(jobs)
        return [Outcome(job, None, "not done") for job in jobs]

    monkeypatch.setattr(f"{module}.run_tasks", tasks)
    monkeypatch.setattr("hpstm_ros.commands.search._aligner", lambda _: Silent())
    assert main([*arguments, "--scheduler", "tcp://host:1"]) == 2
    assert len(handed) == 2
    for job in handed:
        paths = [value for value in vars(job).values() if isinstance(value, Path)]
        assert paths
        assert all(path.is_absolute() for path in paths)


class Silent:
    """Replaces the alignment network."""

    def texts(self, texts: list[str]) -> list[list[float]]:
        """Return an embedding for each text."""
        return [[1.0] for _ in texts]


def test_motions_written_into_the_folder_of_recordings_are_not_processed(tmp_path: Path) -> None:
    """Regression: the next run took the motions of the first one for recordings, which failed."""
    motions = tmp_path / "motions"
    motions.mkdir()
    below = Conversion(tmp_path, motions, PipelineSettings(), {})
    recordings = [tmp_path / "a.npz", tmp_path / "b.mcap"]
    for path in recordings:
        path.touch()
    for path in (motions / "a.npz", motions / "b_mcap.npz"):
        np.savez(path, fps=60.0, positions=np.zeros((1, 22, 3)))
    assert [job.input for job in _jobs(below, find_recordings(tmp_path, (".npz",)))] == recordings
    beside = Conversion(motions, motions, PipelineSettings(), {})
    (motions / "b.mcap").touch()
    (only,) = _jobs(beside, [motions / "b.mcap", motions / "b_mcap.npz"])
    assert only.input == motions / "b.mcap"
    np.savez(motions / "b_mcap.npz", stamp=np.zeros(1))  # a recording, which must not be lost
    with pytest.raises(PallasError, match="would both be written"):
        _jobs(beside, [motions / "b.mcap", motions / "b_mcap.npz"])


def test_two_recordings_with_the_same_motion_are_refused(tmp_path: Path) -> None:
    """Regression: two processes wrote the same file, and one motion was lost."""
    one = Conversion(tmp_path, tmp_path / "out", PipelineSettings(), {})
    with pytest.raises(PallasError, match=r"would both be written to .*run_1\.npz"):
        _jobs(one, [tmp_path / "run.1", tmp_path / "run_1"])


def test_a_motion_is_as_old_as_its_calibration(tmp_path: Path) -> None:
    """Regression: a new calibration was ignored, because the motions existed already."""
    made, recording, calibration = (tmp_path / name for name in ("m.npz", "r.npz", "c.yaml"))
    for path, age in ((recording, 1), (made, 2), (calibration, 3)):
        path.touch()
        os.utime(path, (age, age))
    assert is_newer(made, recording)
    assert not is_newer(made, recording, [calibration])
    assert is_newer(made, recording, [tmp_path / "missing.yaml"])


def test_a_motion_made_with_other_options_is_made_again(tmp_path: Path) -> None:
    """Regression: with another --height, the motions of an earlier run were kept."""
    recording = tmp_path / "r.npz"
    recording.touch()
    job = Conversion(recording, tmp_path / "m.npz", PipelineSettings(), {"neck": "/a"})
    np.savez(job.output, fps=60.0)  # of an earlier version
    assert not is_done(job)
    np.savez(job.output, options=job.options())
    assert is_done(job) and is_done(replace(job, settings=PipelineSettings(backend="torch")))
    for other in (
        replace(job, settings=PipelineSettings(height_m=1.9)),
        replace(job, settings=PipelineSettings(segments=("hand=0.2",))),
        replace(job, settings=PipelineSettings(calibration="c.yaml")),
        replace(job, topics={}),
        replace(job, as_is=True),
        replace(job, from_samples=True),
        replace(job, extra_sites=("head",)),
    ):
        assert not is_done(other)
    job.output.write_bytes(b"damaged")
    assert not is_done(job)


def test_an_empty_folder_is_none_of_the_possible_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: the message was about bags only."""
    assert main(["process", str(tmp_path), str(tmp_path / "m.npz")]) == 2
    error = capsys.readouterr().err
    assert "contains no recording: give an IMU recording (.npz), a bag, a folder" in error
