"""Behaviour of the real-time path."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.imu.procedures import calibrator
from pallas_ros.imu.synchroniser import Synchroniser
from pallas_ros.pipeline import Pipeline
from pallas_ros.runtime import realtime

PERIOD = 16_666_667


@given(st.lists(st.integers(0, 5 * PERIOD), max_size=200))
def test_lag_never_grows(steps: list[int]) -> None:
    """Frames arrive every period; an accepted one never starts two periods after its arrival."""
    deadline = realtime.Deadline(PERIOD)
    free = 0
    taken = 0
    for frame, took in enumerate(steps):
        arrived = frame * PERIOD
        if not deadline.admit():
            continue
        start = max(arrived, free)
        assert start - arrived < PERIOD
        free = start + took
        deadline.done(took)
        taken += 1
    assert taken + deadline.skipped == len(steps)
    assert deadline.overruns <= taken


def test_on_time_nothing_is_skipped() -> None:
    deadline = realtime.Deadline(PERIOD)
    for _ in range(1000):
        assert deadline.admit()
        deadline.done(PERIOD // 10)
    assert (deadline.overruns, deadline.skipped, deadline.worst) == (0, 0, PERIOD // 10)


def test_one_long_step_skips_as_many_frames_as_it_ate() -> None:
    deadline = realtime.Deadline(PERIOD)
    assert deadline.admit()
    deadline.done(int(3.5 * PERIOD))
    assert [deadline.admit() for _ in range(4)] == [False, False, True, True]
    assert (deadline.overruns, deadline.skipped) == (1, 2)


@given(st.lists(st.integers(0, 10 * PERIOD), max_size=100))
def test_a_frame_far_behind_the_news_is_skipped_and_counted(lags: list[int]) -> None:
    deadline = realtime.Deadline(PERIOD, most_lag=3 * PERIOD)
    assert [deadline.admit(lag) for lag in lags] == [lag <= 3 * PERIOD for lag in lags]
    assert deadline.skipped == sum(lag > 3 * PERIOD for lag in lags)


def test_a_frame_that_is_not_admitted_costs_no_step_and_gives_no_body() -> None:
    """As the `pallas` node uses a `Deadline`: after a step of three periods two frames are
    dropped.
    """
    watch = realtime.Deadline(PERIOD)
    stepped = []

    class Estimator:
        def step(self, frame: ImuFrame) -> BodyFrame:
            stepped.append(frame.stamp)
            watch.done(3 * PERIOD if frame.stamp == 2 else PERIOD // 10)
            nothing = np.zeros(0)
            return BodyFrame(
                frame.stamp, nothing, nothing, None, nothing.astype(bool), nothing, nothing, 0
            )

        def reset(self) -> None: ...

    pipeline = Pipeline(calibrator("tpose", 1.5), Synchroniser(), Estimator())
    pipeline.admit = lambda frame: watch.admit()
    for stamp in range(1, 8):
        frame = ImuFrame(
            stamp,
            np.zeros((4, 4)),
            np.zeros((4, 3)),
            np.ones(4, bool),
            np.zeros(4),
            np.zeros(4),
            stamp,
        )
        assert [body.stamp for body in pipeline.push_calibrated(frame)] == (
            [] if stamp in (3, 4) else [stamp]
        )
    assert stepped == [1, 2, 5, 6, 7]
    assert (watch.overruns, watch.skipped) == (1, 2)


def test_a_missing_permission_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("not permitted")

    warnings: list[str] = []
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    realtime.raise_priority(50, warnings.append)
    realtime.pin_to_cores([0], warnings.append)
    assert len(warnings) == 2 and "50" in warnings[0]


def test_the_usual_priority_is_tried_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(_thread: int, _policy: int, parameters: os.sched_param) -> None:
        asked.append(parameters.sched_priority)
        raise PermissionError("not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    realtime.raise_priority(realtime.WHERE_PERMITTED, pytest.fail)
    assert asked == []
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    realtime.raise_priority(realtime.WHERE_PERMITTED, pytest.fail)
    assert asked == [realtime.USUAL_PRIORITY]


def test_without_a_request_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setscheduler")
    monkeypatch.delattr(os, "sched_setaffinity")
    realtime.raise_priority(0, pytest.fail)
    realtime.pin_to_cores([], pytest.fail)


def test_wrong_values_are_refused() -> None:
    with pytest.raises(PallasError, match="100"):
        realtime.raise_priority(100, print)
    with pytest.raises(PallasError, match="4096"):
        realtime.pin_to_cores([0, 4096], print)


def test_pinning_pins() -> None:
    code = (
        "import os; from pallas_ros.runtime import realtime; realtime.pin_to_cores([0], print);"
        " print(os.sched_getaffinity(0))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "{0}"
    )


def test_settled_objects_are_out_of_the_collectors_sight() -> None:
    code = (
        "import gc; from pallas_ros.runtime import realtime; realtime.settle_memory();"
        " print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "True True"
    )


def test_the_runtime_never_imports_torch(small_model: object) -> None:
    code = (
        "import sys; from pallas_ros.runtime import open_stream;"
        f" open_stream({str(small_model)!r}).warm_up(); print('torch' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )
