"""Processes requests: generates motions, corrects and scores them, best first."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import known_texts
from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.corrections import correct, hand_error
from hpstm_ros.generation.guard import released_refusal, text_refusal
from hpstm_ros.generation.representation import Place
from hpstm_ros.generation.request import (
    Generator,
    Progress,
    Request,
    check,
    check_limits,
    default_model,
)
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.origin import Origin
from pallas_ros.core.plugins import Plugins

GENERATORS: Plugins[Callable[[], Generator]] = Plugins("pallas.generators", "generator")
HAND_LIMIT_M = 0.05
"""m, hand targets with a larger error are reported."""
STRETCH_LIMIT = 1.05
"""Factor on the duration above which a robot counts as unable to follow."""


@dataclass
class Candidate:
    """A generated motion.

    Attributes:
        motion: at 60 Hz, in the world frame of the start, or starting at the origin.
        score: alignment with the text, 0 to 100; NaN if unknown.
        hand_error_m: largest distance of a wrist from its target, m.
        stretch: factor on the duration that the robot needs to follow it.
    """

    motion: Motion
    score: float
    hand_error_m: float
    stretch: float = 1.0


@dataclass
class Outcome:
    """Result of a request.

    Attributes:
        candidates: best first.
        warnings: one sentence each.
    """

    candidates: list[Candidate]
    warnings: list[str] = field(default_factory=list)


class Producer:
    """Processes requests with any of the installed generators, each of which is loaded once.

    Args:
        score: maps (motion, text) to a score from 0 to 100; by default the alignment model, if it
            is installed.
        generators: already loaded generators by name.
        refuses: returns the reason for rejecting a motion, or None; by default the guard against
            violent motion.
        refuses_text: returns the reason for rejecting a request, or None; by default the guard
            against violent words.
        stretch: factor on the duration that a robot needs to follow a motion
            (`hpstm_ros.teleoperation.pacing.needed_stretch`); motions that it can follow are ranked
            first. By default, no robot is considered.
    """

    def __init__(
        self,
        score: Callable[[Motion, str], float] | None = None,
        generators: dict[str, Generator] | None = None,
        refuses: Callable[[Motion], str | None] = released_refusal,
        refuses_text: Callable[[str], str | None] = text_refusal,
        stretch: Callable[[Motion], float] = lambda motion: 1.0,
    ) -> None:
        self._stretch = stretch
        self._refuses = refuses
        self._refuses_text = refuses_text
        self._generators = dict(generators or {})
        self._score = score or _alignment()

    def generator(self, model: str) -> Generator:
        """Return the generator called ``model``, loading it if necessary.

        Raises:
            PallasError: there is no such generator, or its model file is missing.
        """
        if model not in self._generators:
            self._generators[model] = GENERATORS.find(model)()
        return self._generators[model]

    def checked(self, request: Request, model: str = "") -> Request:
        """Return a request with its text cleaned, without generating anything.

        An empty ``model`` is `hpstm_ros.generation.request.default_model`.

        Raises:
            PallasError: the request is invalid or refused because of its words, there is no
                generator called ``model``, or it does not accept the request.
        """
        request = check(request)
        model = model or default_model(request)
        if refusal := self._refuses_text(request.text):
            raise PallasError(refusal)
        if model not in self._generators:
            GENERATORS.find(model)
        check_limits(request, model)
        return request

    def produce(
        self, request: Request, model: str = "", progress: Progress = lambda stage, part: None
    ) -> Outcome:
        """Generate the candidates of a request, best first.

        Raises:
            PallasError: the request cannot be met, or all candidates are rejected.
        """
        model = model or default_model(request)
        request = self.checked(request, model)
        warnings = []
        if request.text and (far := known_texts.warning(request.text)):
            warnings.append(far)
        drawn = self.generator(model).generate(request, progress)
        if not np.isfinite(drawn).all():
            raise PallasError("the generator returned values that are not finite: use another seed")
        progress("correcting", 0.0)
        place = _end(request.start)
        candidates = []
        for index, features in enumerate(drawn):
            candidates.append(self._candidate(features, request, place))
            progress("correcting", (index + 1) / len(drawn))
        refusals = []
        for index, candidate in enumerate(candidates):
            progress("checking", index / len(candidates))  # a cancelled request ends here
            refusals.append(self._refuses(candidate.motion))
        candidates = [c for c, why in zip(candidates, refusals, strict=True) if why is None]
        if not candidates:
            raise PallasError(str(refusals[0]))
        candidates.sort(key=_rank)
        if candidates[0].hand_error_m > HAND_LIMIT_M:
            warnings.append(
                f"a hand misses its target by {100 * candidates[0].hand_error_m:.0f} cm: no"
                " posture close to the motion reaches it"
            )
        if candidates[0].stretch > STRETCH_LIMIT:
            warnings.append(
                f"the robot needs {candidates[0].stretch:.1f} times as long for this motion:"
                " request more seconds or candidates"
            )
        return Outcome(candidates, warnings)

    def _candidate(
        self, features: NDArray[np.float32], request: Request, place: Place
    ) -> Candidate:
        kept = correct(features, request.hands)
        away = max((hand_error(kept, target) for target in request.hands), default=0.0)
        motion = rep.to_motion(kept, place)
        score = float("nan")
        if request.text and self._score is not None:
            score = self._score(motion, request.text)
        return Candidate(motion, score, away, self._stretch(motion))


def _rank(candidate: Candidate) -> tuple[float, float, float]:
    missed = candidate.hand_error_m if candidate.hand_error_m > HAND_LIMIT_M else 0.0
    late = candidate.stretch if candidate.stretch > STRETCH_LIMIT else 0.0
    return missed, late, -candidate.score if np.isfinite(candidate.score) else 0.0


def _end(start: Motion | None) -> Place:
    """Place and heading of the last body of the start; the origin if there is no start."""
    if start is None:
        return Place()
    return rep.place_of(start.rotations[-1, 0], start.positions[-1, 0])


def _alignment() -> Callable[[Motion, str], float] | None:
    """The score of the alignment model, or None if the model is not installed."""
    try:
        from hpstm_ros.language.alignment.aligner import Aligner

        aligner: Any = Aligner.default()
    except (ImportError, PallasError):
        return None
    return lambda motion, text: float(aligner.score(motion, text))


def origin(outcome: Outcome, request: Request, model: str) -> Origin:
    """Provenance of the best candidate."""
    scores = tuple(candidate.score for candidate in outcome.candidates)
    return Origin(request.text, model, request.seed, scores[0], scores)


def document(outcome: Outcome, request: Request, model: str) -> Motion:
    """The best candidate as a motion to be saved, with its provenance."""
    best = outcome.candidates[0]
    extra = {**(best.motion.extra or {}), **origin(outcome, request, model).arrays()}
    return Motion(best.motion.fps, best.motion.positions, best.motion.rotations, extra=extra)
