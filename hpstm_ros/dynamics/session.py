"""Loads on the operator's body over a recorded session: as recorded, or computed from its bodies.

Sessions may have any length: figures are accumulated one instant at a time.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.dynamics.ergonomics import Scores
from hpstm_ros.dynamics.figures import HIGH_SHARE, Summary, Watched
from hpstm_ros.dynamics.strength import WATCHED
from pallas_ros.bags import Bag
from pallas_ros.bags.bodies import read_bodies
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import MODEL_RATE_HZ, TOPIC_BODY_LOAD
from pallas_ros.core.errors import readable
from pallas_ros.messages.decode import from_stamp
from pallas_ros.view.curve import Curve

if TYPE_CHECKING:
    from hpstm_ros.dynamics.live import LiveForces, LiveSettings

F64 = NDArray[np.float64]

FULL_SHARE = 1.0
"""Share of the median adult's strength above which time is counted as well."""
SHARES = (HIGH_SHARE, FULL_SHARE)
DOUBTFUL = 0.15
"""Unexplained force, as a share of body weight, above which loads are reported as doubtful; the
evaluations discard frames with the same limit.
"""
_PERIOD_NS = 1e9 / MODEL_RATE_HZ
"""ns, between two bodies."""
_LONGEST_STEP_S = 0.04
"""s, longest time for which an instant with known loads counts: one body may be lost. After a
longer gap it counts as one frame.
"""
_LONGEST_UNKNOWN_S = 1.0
"""s, longest time since the last instant that counts as unknown."""
_LARGEST = 1e6
"""Limit of recorded moments, shares and residuals; larger ones are implausible, thus unknown."""
_BRIDGED_S = 0.1
"""s, longest gap in which bodies of another rate than 60 Hz are interpolated."""
_RATE_FROM = 300
"""Number of bodies from which their rate is determined."""
_MOST_PEOPLE = 8
_MOST_NAMED = 5
_LONGEST_REMARK = 200
_NEAR_RATE = 0.1
"""Relative deviation from 60 Hz within which bodies are used as they are, as in the node."""
_MOST_RULA = 7
_MOST_REBA = 15


@dataclass(frozen=True, eq=False)
class Instant:
    """The loads at one instant.

    Attributes:
        time: s from the start of the bag.
        stamp: ns, of the body.
        moments, shares: (5,) Nm, and shares of strength, of `strength.WATCHED`; NaN if unknown.
        rula, reba: scores of the posture; 0 if unknown.
        standing: whether the body has support.
        residual: unexplained force, as a share of body weight.
        remark: why the loads are unknown, or empty.
        body_id: the person.
    """

    time: float
    stamp: int
    moments: F64
    shares: F64
    rula: int = 0
    reba: int = 0
    standing: bool = True
    residual: float = float("nan")
    remark: str = ""
    body_id: str = ""

    @property
    def known(self) -> bool:
        """Whether the loads are known."""
        return bool(np.isfinite(self.shares).all() and np.isfinite(self.moments).all())


class Tally:
    """Figures of a session, of which `add` takes one instant after the other.

    Attributes:
        curve: shares (5,) over time.
        peaks, peak_shares, peak_times, peak_residuals: (5,) Nm, shares, s, and unexplained force (a
            share of body weight) of the highest moments.
        above: (2, 5) s above each of `SHARES`.
        rula, reba: (8,) and (16,) s with each score.
        known_s, unknown_s, flight_s: s with known loads, with unknown loads, and without support.
        doubtful_s: s with an unexplained force above `DOUBTFUL`.
        remark: the last reason for unknown loads.
    """

    def __init__(self) -> None:
        count = len(WATCHED)
        self.curve = Curve()
        self.peaks = np.full(count, np.nan)
        self.peak_shares = np.full(count, np.nan)
        self.peak_times = np.full(count, np.nan)
        self.peak_residuals = np.full(count, np.nan)
        self.above = np.zeros((len(SHARES), count))
        self.rula = np.zeros(_MOST_RULA + 1)
        self.reba = np.zeros(_MOST_REBA + 1)
        self.known_s = 0.0
        self.unknown_s = 0.0
        self.flight_s = 0.0
        self.doubtful_s = 0.0
        self.remark = ""
        self._residual = 0.0
        self._stamp: int | None = None

    def add(self, instant: Instant) -> None:
        """Count an instant; loads in a gap before it are unknown."""
        frame = 1.0 / MODEL_RATE_HZ
        since = frame if self._stamp is None else (instant.stamp - self._stamp) / 1e9
        since = min(since, _LONGEST_UNKNOWN_S) if since > 0 else frame
        self._stamp = instant.stamp
        if not instant.known:
            self.unknown_s += since
            self.remark = instant.remark or self.remark
            return
        step = since if since <= _LONGEST_STEP_S else frame
        self.known_s += step
        self.unknown_s += since - step
        self.curve.add(instant.time, instant.shares)
        higher = ~(instant.shares <= self.peak_shares)  # the first one is compared with NaN
        self.peaks[higher] = instant.moments[higher]
        self.peak_shares[higher] = instant.shares[higher]
        self.peak_times[higher] = instant.time
        self.peak_residuals[higher] = instant.residual
        self.above += step * (instant.shares > np.array(SHARES)[:, None])
        self.rula[min(instant.rula, _MOST_RULA)] += step
        self.reba[min(instant.reba, _MOST_REBA)] += step
        self.flight_s += step * (not instant.standing)
        self.doubtful_s += step * (instant.residual > DOUBTFUL)
        if np.isfinite(instant.residual):
            self._residual += step * instant.residual**2

    def summary(self) -> Summary:
        """The figures in the form of `pallas dynamics`."""
        whole = self.known_s + self.unknown_s
        rows = zip(WATCHED, self.peaks, self.peak_shares, self.above[0])
        return Summary(
            tuple(Watched(name, *map(float, row)) for name, *row in rows),
            self.worst(),
            self.unknown_s / whole if whole else 1.0,
            self.flight_s,
            float(np.sqrt(self._residual / self.known_s)) if self.known_s else float("nan"),
        )

    def worst(self) -> Scores | None:
        """The highest scores; None if no posture was scored."""
        rula = int(np.flatnonzero(self.rula).max(initial=0))
        reba = int(np.flatnonzero(self.reba).max(initial=0))
        return Scores(rula, reba) if rula and reba else None


def recorded(bag: Bag) -> Iterator[Instant | None]:
    """Yield the loads that the node `dynamics` published; None for messages with wrong fields.

    A bag defines its own message types, so that any field can be missing or of another type.
    Messages of other types are skipped.
    """
    topic = bag.topics.get(TOPIC_BODY_LOAD)
    if topic is None or topic.msgtype != "pallas/msg/BodyLoad":
        return
    for received, message in bag.read(TOPIC_BODY_LOAD):
        try:
            yield _from_message(message, (received - bag.first) / 1e9)
        except (AttributeError, TypeError, ValueError, OverflowError):
            yield None


def _from_message(message: Any, time: float) -> Instant:
    residual = float(_plausible(np.array(message.residual, dtype=np.float64)))
    return Instant(
        time=time,
        stamp=from_stamp(message.header.stamp),
        moments=_by_name(message, message.moments),
        shares=_by_name(message, message.shares),
        rula=max(0, int(message.rula)),
        reba=max(0, int(message.reba)),
        standing=bool(message.standing),
        residual=residual,
        remark=readable(str(message.remark)[:_LONGEST_REMARK]),
        body_id=str(message.body_id),
    )


def _by_name(message: Any, values: Any) -> F64:
    """Values (5,) of `strength.WATCHED`; NaN if the message states that they are unknown."""
    found = dict(zip(message.names, values)) if message.known else {}
    return _plausible(np.array([found.get(name, np.nan) for name in WATCHED], dtype=np.float64))


def _plausible(values: F64) -> F64:
    """The values, NaN if not finite or larger than `_LARGEST`."""
    return np.where(np.abs(values) <= _LARGEST, values, np.nan)


def count_people(bag: Bag, topic: str) -> Counter[str]:
    """Count the bodies of each person on ``topic``, by id."""
    return Counter(body.body_id for _, body in read_bodies(bag, topic))


def select_person(where: str, counts: Mapping[str, int], body_id: str = "") -> tuple[str, str]:
    """Select one of the people in a recording.

    Args:
        where: name of the recording, for the message.
        counts: number of messages of each person, at least one.
        body_id: the person; empty: the one with the most messages.

    Returns:
        The id, and a sentence about the other people, empty without any.

    Raises:
        PallasError: there is no person ``body_id``.
    """
    by_count = sorted(counts, key=lambda name: -counts[name])
    chosen = body_id or by_count[0]
    names = ", ".join(readable(name) for name in by_count[:_MOST_NAMED])
    names += ", ..." if len(by_count) > _MOST_NAMED else ""
    if chosen not in counts:
        raise PallasError(f"{where}: no body '{readable(body_id)}'; it contains {names}")
    if len(counts) == 1:
        return chosen, ""
    return chosen, (
        f"{len(counts)} people were recorded ({names}): these are the loads of {readable(chosen)};"
        " choose another with --body"
    )


def computed(
    bag: Bag, topic: str, settings: "LiveSettings", body_id: str = ""
) -> Iterator[Instant | None]:
    """Yield the loads that the node `dynamics` would publish for the bodies of ``topic``.

    Bodies of another rate than 60 Hz are interpolated. Yields None for bodies without a result, so
    that the caller can show progress. With ``body_id``, the bodies of others are left out.

    Raises:
        PallasError: the settings are invalid.
    """
    from hpstm_ros.dynamics.live import LiveDynamics

    live = LiveDynamics(settings)
    for received, body in at_model_rate(bag, topic, body_id):
        after_stamp = received - body.stamp - bag.first
        try:
            forces = live.push(body)
        except PallasError as error:
            yield _unknown(body, after_stamp, str(error))
            continue
        yield None if forces is None else _instant(forces, after_stamp)


def _unknown(body: BodyFrame, after_stamp: int, remark: str) -> Instant:
    nothing = np.full(len(WATCHED), np.nan)
    return Instant((body.stamp + after_stamp) / 1e9, body.stamp, nothing, nothing, remark=remark)


def _instant(forces: "LiveForces", after_stamp: int) -> Instant:
    """The loads among forces; ``after_stamp`` ns maps stamps to times since the start."""
    known = forces.frame is not None
    nothing = np.full(len(WATCHED), np.nan)
    return Instant(
        time=(forces.stamp + after_stamp) / 1e9,
        stamp=forces.stamp,
        moments=np.array([load.moment for load in forces.loads]) if known else nothing,
        shares=np.array([load.share for load in forces.loads]) if known else nothing,
        rula=forces.scores.rula if forces.scores else 0,
        reba=forces.scores.reba if forces.scores else 0,
        standing=forces.standing,
        residual=forces.residual,
        remark=forces.remark,
    )


def at_model_rate(bag: Bag, topic: str, body_id: str = "") -> Iterator[tuple[int, BodyFrame]]:
    """Yield receive time (ns) and body, at 60 Hz, of everyone or of ``body_id``."""
    stamps: dict[str, list[int]] = {}
    for _, body in islice(_bodies_of(bag, topic, body_id), _RATE_FROM):
        stamps.setdefault(body.body_id, []).append(body.stamp)
    steps = np.diff(max(stamps.values(), key=len)) if stamps else np.zeros(0)
    bodies = _bodies_of(bag, topic, body_id)
    near = not len(steps) or abs(float(np.median(steps)) / _PERIOD_NS - 1) <= _NEAR_RATE
    return bodies if near else evenly(bodies)


def _bodies_of(bag: Bag, topic: str, body_id: str) -> Iterator[tuple[int, BodyFrame]]:
    """Yield receive time (ns) and body of one person; of everyone if ``body_id`` is empty."""
    for received, body in read_bodies(bag, topic):
        if not body_id or body.body_id == body_id:
            yield received, body


def evenly(bodies: Iterable[tuple[int, BodyFrame]]) -> Iterator[tuple[int, BodyFrame]]:
    """Interpolate the bodies of each person on multiples of 1/60 s; receive times in ns as well."""
    last: dict[str, tuple[int, BodyFrame]] = {}
    for received, body in bodies:
        before = last.pop(body.body_id, None)
        if len(last) >= _MOST_PEOPLE:
            last.pop(next(iter(last)))
        last[body.body_id] = received, body
        if before is None or not 0 < (body.stamp - before[1].stamp) / 1e9 <= _BRIDGED_S:
            continue
        start, stop = (int(np.ceil(stamp / _PERIOD_NS)) for stamp in (before[1].stamp, body.stamp))
        for index in range(start, stop):
            between = _between(before[1], body, round(index * _PERIOD_NS))
            yield received - (body.stamp - between.stamp), between


def _between(a: BodyFrame, b: BodyFrame, stamp: int) -> BodyFrame:
    """The body at ``stamp`` ns between two of the same person."""
    part = (stamp - a.stamp) / (b.stamp - a.stamp)
    near = np.where((a.rotations * b.rotations).sum(axis=-1, keepdims=True) < 0, -1.0, 1.0)
    turned = rotations.normalise((1 - part) * a.rotations + part * near * b.rotations)
    return replace(
        b,
        stamp=stamp,
        positions=(1 - part) * a.positions + part * b.positions,
        rotations=np.asarray(turned, dtype=np.float64),
        valid=a.valid & b.valid,
    )
