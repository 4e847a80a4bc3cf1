"""Rows of `pallas bench` for generation: motion and poses from text, the forecast, the score."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from hpstm_ros.bench.rows import reaching
from hpstm_ros.bench.timing import Durations, timed
from hpstm_ros.generation.expectation import Expectation, nothing
from hpstm_ros.generation.flow import OVERLAP, past_of
from hpstm_ros.generation.poses import PoseSampler
from hpstm_ros.generation.producer import Producer
from hpstm_ros.generation.request import Request, resting
from hpstm_ros.language.alignment.aligner import Aligner
from pallas_ros.bench.rows import BenchSettings, Row
from pallas_ros.body.errors import PallasError

_TEXT = "wave with the right hand"
_STEPS = 10
_POSES = 6
_SCORED_S = 4.0
_LEAST_REPEATS = 3
_FRAMES_PER_REPEAT = 500


@dataclass(frozen=True)
class Case:
    """One measured call.

    Attributes:
        name, case, what: of the rows.
        ready: loads the models; returns the call to measure.
        times: how often it is repeated, relative to the generation of a motion.
    """

    name: str
    case: str
    what: str
    ready: Callable[[], Callable[[], object]]
    times: int = 1


def generation(settings: BenchSettings) -> Iterator[Row]:
    """Motion and poses from a text, the forecast of a second, and the score of a motion.

    Motion is generated, corrected and checked as by `pallas generate`, without its score.
    """
    count = max(settings.frames // _FRAMES_PER_REPEAT, _LEAST_REPEATS)
    for each in cases():
        try:
            work = each.ready()
            work()
        except PallasError as error:
            print(f"  {each.name} {each.what} not measured: {error}")
            continue
        label = f"{each.name} {each.what}"
        taken = (timed(work) for _ in settings.bar(each.times * count, label))
        yield from Durations.of(taken).rows(each.name, each.case, each.what)


def cases() -> list[Case]:
    """What is measured."""
    return [
        Case("hpstm_gen", f"steps={_STEPS}", "generate_4s", partial(_generating, "flow", 4.0)),
        Case("hpstm_gen", "forecast=1.0", "forecast", _forecasting, times=10),
        Case("latent", "text", "generate_4s", partial(_generating, "latent", 4.0)),
        Case("latent", "text", "generate_10s", partial(_generating, "latent", 10.0)),
        Case("tokens", "text", "generate_4s", partial(_generating, "tokens", 4.0)),
        Case("text_pose", f"poses={_POSES}", "sample", _posing),
        Case("alignment", "text", "score", _scoring, times=10),
    ]


def _generating(model: str, seconds: float) -> Callable[[], object]:
    producer = Producer(lambda motion, text: 0.0)
    request = Request(text=_TEXT, seconds=seconds, steps=_STEPS)
    return lambda: producer.produce(request, model)


def _forecasting() -> Callable[[], object]:
    expectation = Expectation()
    past, seen = nothing(1)
    request = Request(text=_TEXT, start=resting(1.0))
    past[0, :OVERLAP] = past_of(request)[-OVERLAP:]
    seen[0, :OVERLAP] = True
    return lambda: expectation.expect(past, seen)


def _posing() -> Callable[[], object]:
    sampler = PoseSampler()
    return lambda: sampler.sample(_TEXT, _POSES)


def _scoring() -> Callable[[], object]:
    aligner = Aligner.default()
    motion = reaching(_SCORED_S)
    return lambda: aligner.score(motion, _TEXT)
