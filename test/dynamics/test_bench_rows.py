"""Rows of `pallas bench` for forces and generation: their names, goals and what they measure."""

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from hpstm_ros.bench import dynamics as forces
from hpstm_ros.bench import generation
from hpstm_ros.bench.timing import Durations, timed
from pallas_ros.bench.rows import GOALS, BenchSettings, Row
from pallas_ros.body.errors import PallasError

SETTINGS = BenchSettings(frames=120, progress=False)
PERCENTILES = ("p50", "p90", "p99", "max", "cpu_p50")


def keys(rows: list[Row]) -> set[tuple[str, str, str]]:
    return {(row.name, row.case, row.metric) for row in rows}


def test_forces_have_a_row_for_each_method() -> None:
    rows = list(forces.dynamics(SETTINGS))
    wanted = {("dynamics", "hdys", f"step_{p}_ms") for p in PERCENTILES}
    for method in ("rigid_body", "hdys"):
        wanted |= {("dynamics", method, f"frame_{p}_ms") for p in PERCENTILES}
    assert keys(rows) == wanted | {("dynamics", "hdys", "cpu_over_rigid_body")}
    assert {goal for goal in GOALS if goal[0] == "dynamics"} <= keys(rows)
    values = {(row.case, row.metric): row.value for row in rows}
    assert values["hdys", "step_cpu_p50_ms"] < values["hdys", "frame_cpu_p50_ms"]
    assert all(value > 0 for value in values.values())


def test_every_method_computes_forces_of_the_measured_frames() -> None:
    found: dict[str, int] = {}

    def counting(name: str, live: forces.LiveDynamics) -> SimpleNamespace:
        def push(body: forces.BodyFrame) -> None:
            forces_found = live.push(body)
            known = forces_found is not None and forces_found.frame is not None
            found[name] = found.get(name, 0) + known

        return SimpleNamespace(push=push)

    lives = {
        method: counting(method, forces.LiveDynamics(forces.LiveSettings(method=method)))
        for method in forces.METHODS
    }
    durations = forces._alternating(lives, SETTINGS)  # type: ignore[arg-type]
    assert all(len(each.wall) == SETTINGS.frames for each in durations.values())
    assert all(count > SETTINGS.frames for count in found.values())  # known since the warm-up


def test_generation_measures_every_model_with_a_goal() -> None:
    cases = generation.cases()
    measured = {(each.name, each.case, f"{each.what}_p50_ms") for each in cases}
    names = {each.name for each in cases}
    assert {"hpstm_gen", "latent", "tokens", "text_pose", "alignment"} == names
    assert {goal for goal in GOALS if goal[0] in names} <= measured
    assert len(measured) == len(cases)


def test_each_motion_is_made_by_the_generator_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, float, int]] = []

    class Noting:
        def __init__(self, score: Callable[..., float]) -> None:
            pass

        def produce(self, request: generation.Request, model: str) -> None:
            made.append((model, request.seconds, request.steps))

    monkeypatch.setattr(generation, "Producer", Noting)
    for each in generation.cases():
        if each.what.startswith("generate"):
            each.ready()()
    assert made == [("flow", 4, 10), ("latent", 4, 10), ("latent", 10, 10), ("tokens", 4, 10)]


def test_a_missing_model_does_not_hide_the_other_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> Callable[[], object]:
        raise PallasError("no such file")

    cases = [
        generation.Case("tokens", "text", "generate_4s", missing),
        generation.Case("alignment", "text", "score", lambda: lambda: None, times=2),
    ]
    monkeypatch.setattr(generation, "cases", lambda: cases)
    rows = list(generation.generation(SETTINGS))
    assert {row.metric for row in rows} == {f"score_{p}_ms" for p in PERCENTILES}
    assert "tokens generate_4s not measured: no such file" in capsys.readouterr().out


def test_waiting_takes_no_cpu_time() -> None:
    durations = Durations.of(timed(lambda: time.sleep(0.05)) for _ in range(3))
    assert durations.wall.shape == durations.cpu.shape == (3,)
    assert durations.wall.min() >= 50 and durations.cpu.min() < 25
