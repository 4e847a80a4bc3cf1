"""Requests for motion, their validation, and the interface of generators."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation.representation import FPS
from hpstm_ros.language.encoder import checked
from hpstm_ros.language.english import is_english
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.files.parameters import described

_PARAMETERS = described("motion_generator")
SECONDS = (0.5, 30.0)
CANDIDATES = (1, 8)
STEPS = _PARAMETERS["steps"].bounds
GUIDANCE = _PARAMETERS["guidance"].bounds
REACH_M = 0.95
"""m, largest distance from pelvis to wrist without a step: trunk and arm of the default body."""
WALK_M_S = 1.5
"""m/s, assumed walking speed towards a hand target."""
HAND_HEIGHT_M = (0.0, 2.3)
MOST_HANDS = 16
SIDES = ("left", "right")

Progress = Callable[[str, float], None]
"""Called with the current stage and its progress (0 to 1); may raise an exception to cancel."""


@dataclass(frozen=True)
class HandTarget:
    """Target position of a wrist.

    Attributes:
        side: ``left`` or ``right``.
        point: m, in the frame of the start: origin on the floor below the pelvis, x forward, y
            left, z up.
        time: s, from the first generated frame.
    """

    side: str
    point: tuple[float, float, float]
    time: float


@dataclass(frozen=True)
class Request:
    """A request for a motion.

    Attributes:
        text: description in English; may be empty only if a start or hand targets are given.
        seconds: duration.
        seed: of the noise; the same request with the same seed gives the same motion.
        candidates: number of motions to generate.
        guidance: weight of the text; 1 is the plain conditional model.
        steps: of the flow.
        heun: whether to use second-order steps, with two evaluations each.
        start: motion to continue (its last second is used), or None.
        hands: targets of the wrists.
    """

    text: str = ""
    seconds: float = 4.0
    seed: int = 0
    candidates: int = 1
    guidance: float = _PARAMETERS["guidance"].default
    steps: int = _PARAMETERS["steps"].default
    heun: bool = False
    start: Motion | None = None
    hands: tuple[HandTarget, ...] = field(default_factory=tuple)

    @property
    def frames(self) -> int:
        """Number of frames at 30 Hz."""
        return round(self.seconds * FPS)


class Generator(Protocol):
    """Interface of motion generators.

    An entry point of ``pallas.generators`` names a function without arguments that returns one.
    """

    def generate(self, request: Request, progress: Progress) -> NDArray[np.float32]:
        """Generate candidates (K, T, 137) of a checked request, in the frame of the last frame of
        its start.
        """
        ...


def check(request: Request) -> Request:
    """Validate a request, and return it with its text cleaned.

    Raises:
        PallasError: the request is invalid.
    """
    text = _text(request)
    _within("duration", request.seconds, SECONDS, "s")
    _within("number of candidates", request.candidates, CANDIDATES)
    _within("number of steps", request.steps, STEPS)
    _within("guidance", request.guidance, GUIDANCE)
    if not 0 <= request.seed < 2**63:
        raise PallasError(f"the seed must be from 0 to {2**63 - 1}")
    start = request.start
    if start is not None and not (
        len(start) and np.isfinite(start.positions).all() and np.isfinite(start.rotations).all()
    ):
        raise PallasError("the start contains values that are not finite: give a valid body")
    _check_hands(request.hands, request.seconds)
    return Request(**{**vars(request), "text": text})


def _text(request: Request) -> str:
    if not request.text.strip() and (request.start is not None or request.hands):
        return ""
    text = checked(request.text)
    if not is_english(text):
        raise PallasError(
            "the text is not English: the training descriptions are English, so write the request"
            " in English"
        )
    return text


def _within(name: str, value: float, bounds: tuple[float, float], unit: str = "") -> None:
    low, high = bounds
    if not low <= value <= high:  # also if it is not a number
        unit = f" {unit}" if unit else ""
        stated = f"{value:g}" if isinstance(value, float) else f"{value}"[:20]
        raise PallasError(
            f"the {name} is {stated}{unit}, but must be from {low:g} to {high:g}{unit}"
        )


def _check_hands(hands: Sequence[HandTarget], seconds: float) -> None:
    if len(hands) > MOST_HANDS:
        raise PallasError(
            f"the request has {len(hands)} hand targets, but at most {MOST_HANDS} are allowed: give"
            " fewer"
        )
    points: dict[tuple[str, int], tuple[float, float, float]] = {}
    for target in hands:
        _check_hand(target, seconds)
        at = (target.side, round(target.time * FPS))
        if points.setdefault(at, target.point) != target.point:
            raise PallasError(
                f"the {target.side} hand has two targets at {target.time:g} s: give one of them"
            )


def _check_hand(target: HandTarget, seconds: float) -> None:
    where = f"hand target {target.side[:10]} ({', '.join(f'{x:g}' for x in target.point)})"
    if target.side not in SIDES:
        raise PallasError(f"{where}: the side must be left or right")
    if not all(math.isfinite(x) for x in (*target.point, target.time)):
        raise PallasError(f"{where}: a value is not finite")
    if not 0 <= target.time <= seconds:
        raise PallasError(
            f"{where}: its time {target.time:g} s is outside the motion, which lasts {seconds:g} s"
        )
    x, y, z = target.point
    away = math.hypot(x, y)
    low, high = HAND_HEIGHT_M
    if not low <= z <= high or away > REACH_M + WALK_M_S * target.time:
        raise PallasError(
            f"{where}: out of reach; heights range from {low:g} to {high:g} m, and at"
            f" {target.time:g} s the hand can be {REACH_M + WALK_M_S * target.time:.2f} m from the"
            " start"
        )


@dataclass(frozen=True)
class Limits:
    """Requests that a generator accepts.

    Attributes:
        seconds: shortest and longest duration, s.
        hands: whether it takes hand targets.
        start: s, by which a start of at least `SHORTEST_START_S` shortens the longest duration.
    """

    seconds: tuple[float, float] = SECONDS
    hands: bool = True
    start: float = 0.0


_TOKENS = Limits((SECONDS[0], 10.0), hands=False, start=1.1)  # 32 frames, rounded up
_LIMITS = {
    "latent": Limits((1.0, 10.0), hands=False),
    "tokens": _TOKENS,
    "tokens_original": _TOKENS,
}
SHORTEST_START_S = 1.0
"""s, a shorter start is not continued by the generators that it would shorten."""


def limits(model: str, start: Motion | None = None) -> Limits:
    """Requests that the generator called ``model`` accepts, known without loading it.

    ``start`` is that of the request: the generator may need a part of its window for it.
    """
    found = _LIMITS.get(model, Limits())
    if start is None or len(start) < SHORTEST_START_S * start.fps:
        return found
    shortest, longest = found.seconds
    return replace(found, seconds=(shortest, longest - found.start))


DEFAULT = "latent"
"""The generator of most requests that name none."""


def default_model(request: Request) -> str:
    """The generator of a request that names none.

    The length-aware generator matches the text best (docs/evidence/generation.md). The flow takes
    the rest: hand targets and other durations.
    """
    shortest, longest = limits(DEFAULT).seconds
    fits = shortest <= request.seconds <= longest
    return DEFAULT if fits and not request.hands else "flow"


def check_limits(request: Request, model: str) -> None:
    """Compare a request with the limits of the generator called ``model``.

    Raises:
        PallasError: the generator does not accept the request.
    """
    allowed = limits(model, request.start)
    after = " after a start" if allowed != limits(model) else ""
    what = f"duration for the generator '{model[:40]}'{after}"
    _within(what, request.seconds, allowed.seconds, "s")
    if request.hands and not allowed.hands:
        raise PallasError(
            f"the generator '{model[:40]}' takes no hand targets: leave them out, or use the flow"
        )


def parse_hand(words: Sequence[str]) -> HandTarget:
    """Parse a hand target of the command line: ``right 0.4,-0.2,1.3@2.0``.

    Raises:
        PallasError: the target has another form.
    """
    side, where = words
    try:
        point, time = where.split("@")
        x, y, z = (float(number) for number in point.split(","))
        return HandTarget(side, (x, y, z), float(time))
    except ValueError:
        raise PallasError(
            f"hand target '{where[:60]}': expected x,y,z@seconds, for example 0.4,-0.2,1.3@2.0"
        ) from None


def resting(seconds: float = 0.5) -> Motion:
    """A motion at rest: standing still, with hanging arms."""
    q = np.tile(rotations.IDENTITY, (len(JOINTS), 1))
    for side, sign in (("left", -1.0), ("right", 1.0)):
        hanging = rotations.from_rotvec(np.array([sign * 1.35, 0.0, 0.0]))
        for joint in ("shoulder", "elbow", "wrist"):
            q[JOINT_INDEX[f"{side}_{joint}"]] = hanging
    skeleton = Skeleton.from_height()
    frames = max(round(seconds * FPS), 1)
    q = np.tile(q, (frames, 1, 1))
    root = np.tile(skeleton.rest_positions[0] * [0, 0, 1], (frames, 1))
    p = np.asarray(forward_kinematics(skeleton, q, root), dtype=np.float64)
    return Motion(FPS, p, q, extra={"contacts": np.ones((frames, 2), dtype=bool)})
