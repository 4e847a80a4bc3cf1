"""Section of `pallas report BAG` on the loads on the operator's body: `SectionSource`."""

import argparse
from collections import Counter
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.dynamics.anthropometry import check_mass
from hpstm_ros.dynamics.figures import MEDICAL, limits_of, sentences
from hpstm_ros.dynamics.session import (
    DOUBTFUL,
    SHARES,
    Tally,
    computed,
    count_people,
    recorded,
    select_person,
)
from hpstm_ros.dynamics.strength import WATCHED
from pallas_ros.bags import Bag
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import (
    TOPIC_BODY_LOAD,
    TOPIC_GENERATED_BODY,
    TOPIC_PALLAS_BODY,
    TOPIC_POSE_BODY,
)
from pallas_ros.files.parameters import add_option, described
from pallas_ros.view import svg
from pallas_ros.view.measure import BODY_TOPICS
from pallas_ros.view.sections import Progress, Section

if TYPE_CHECKING:
    from hpstm_ros.dynamics.live import LiveSettings

_PARAMETERS = described("dynamics")
_PROGRESS_EVERY = 100
_MOST_PEOPLE = 8
"""Number of people whose recorded loads are counted: the first ones."""
_NAMES = [name.replace("_", " ") for name in WATCHED]
_RULA = ((5, 7), (7, 8))
_REBA = ((8, 11), (11, 16))
"""Ranges [first, last) of the scores with action needed soon and now (the published levels)."""
_INFERRED = (
    "The bodies come from IMUs. Without IMUs on the legs, the legs are inferred: knee moments are"
    " not usable, and the lumbar moment is coarse."
)
_SHARES_OF = (
    "Shares are of the isometric strength of the median healthy adult, not of this person. Use them"
    " to compare postures and loads, not as limits."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--loads",
        action="store_true",
        help=f"compute the loads on the operator's body if the bag has no {TOPIC_BODY_LOAD} (about"
        " 2 ms for each body); needs --mass",
    )
    parser.add_argument(
        "--mass", type=float, metavar="KG", help="mass of the operator, for --loads"
    )
    parser.add_argument(
        "--body",
        metavar="ID",
        help="person whose loads are shown, for a bag with several (default: the most frequent)",
    )
    add_option(parser, "--sex", _PARAMETERS["sex"], "tables of inertia and strength for --loads")


def options(args: argparse.Namespace) -> dict[str, Any]:
    """The person if given, and mass and sex if the loads are to be computed.

    Raises:
        PallasError: an option is invalid.
    """
    person = {} if args.body is None else {"body": str(args.body)}
    if not args.loads:
        if args.mass is not None or args.sex != _PARAMETERS["sex"].default:
            raise PallasError("--mass and --sex apply to the loads: add --loads")
        return person
    if args.mass is None:
        raise PallasError("--loads: give the mass of the operator as well, for example --mass 75")
    return {"mass": check_mass(args.mass), "sex": args.sex, **person}


def section(bag: Bag, options: Mapping[str, Any], progress: Progress) -> Section | None:
    """Write the section; None if the bag has no loads and none are to be computed.

    Raises:
        PallasError: there is no such person, or the loads are to be computed, but the extra [robot]
            is not installed.
    """
    body_id = str(options.get("body", ""))
    found = _recorded(bag, body_id)
    if found is not None:
        return found
    if "mass" not in options:
        return None
    present = (topic for topic in BODY_TOPICS if topic in bag.topics and bag.topics[topic].count)
    topic = max(present, key=BODY_TOPICS.index, default="")
    people = count_people(bag, topic) if topic else {}
    if not people:
        return Section(_page(_warning("There are no bodies in this bag, so no loads.")))
    chosen, others = select_person(f"{bag.path}: {topic}", people, body_id)
    tally = Tally()
    for done, instant in enumerate(computed(bag, topic, _settings(options), chosen)):
        if done % _PROGRESS_EVERY == 0:
            progress(min(done, people[chosen]), people[chosen])
        if instant is not None:
            tally.add(instant)
    source = (
        f"Computed from {topic} for a mass of {options['mass']:g} kg, with nothing carried and no"
        " support besides the feet."
    )
    return _section(tally, source, _inferred(bag, topic), others)


def _recorded(bag: Bag, body_id: str) -> Section | None:
    """The section of recorded loads; None if there are none, not even damaged ones."""
    tallies: dict[str, Tally] = {}
    counts: Counter[str] = Counter()
    damaged = 0
    for instant in recorded(bag):
        if instant is None:
            damaged += 1
            continue
        counts[instant.body_id] += 1
        if instant.body_id in tallies or len(tallies) < _MOST_PEOPLE:
            tallies.setdefault(instant.body_id, Tally()).add(instant)
    lost = f"{damaged} damaged messages on {TOPIC_BODY_LOAD} were skipped." if damaged else ""
    if not counts:
        return Section(_page(_warning(lost))) if damaged else None
    where = f"{bag.path}: {TOPIC_BODY_LOAD}"
    chosen, others = select_person(where, {name: counts[name] for name in tallies}, body_id)
    source = f"Recorded from {TOPIC_BODY_LOAD}. {lost}".strip()
    return _section(tallies[chosen], source, _inferred(bag), others)


def _settings(options: Mapping[str, Any]) -> "LiveSettings":
    try:
        from hpstm_ros.dynamics.live import LiveSettings
    except ImportError as error:
        raise PallasError(
            f"--loads needs the extra [robot]: pip install 'pallas-ros[robot]' ({error})"
        ) from None
    return LiveSettings(mass=options["mass"], sex=options["sex"])


def _inferred(bag: Bag, *computed_from: str) -> str:
    """What to know of bodies from IMUs, or empty."""
    imus = TOPIC_PALLAS_BODY in bag.topics and bag.topics[TOPIC_PALLAS_BODY].count
    others = {TOPIC_GENERATED_BODY, TOPIC_POSE_BODY} & set(computed_from)
    return _INFERRED if imus and not others else ""


def _section(tally: Tally, source: str, inferred: str, others: str) -> Section:
    """The section of one person; ``others`` is a sentence about further people, or empty."""
    people = _warning(f"{others}.") if others else ""
    if not tally.known_s:
        why = tally.remark or "too few bodies in succession"
        return Section(_page(f"<p>{source}</p>", people, _warning(f"No load is known: {why}.")))
    summary = tally.summary()
    notes = _notes(tally)
    times, shares = tally.curve.arrays()
    plot = svg.curves(
        [(name, times, shares[:, k]) for k, name in enumerate(_NAMES)], "of strength", SHARES
    )
    dashed = " and ".join(f"{100 * share:.0f} %" for share in SHARES)
    items = "".join(f"<li>{escape(note)}</li>" for note in (*limits_of(summary), *notes))
    html = _page(
        f"<p>{source}</p>",
        people,
        _warning(inferred) if inferred else "",
        f'<div style="max-width:760px"><p><b>Share of strength</b>, dashed: {dashed}</p>{plot}'
        f"</div>{_load_table(tally)}<p></p>{_posture_table(tally)}<ul>{items}</ul>",
        f"<p>{_SHARES_OF}</p>",
    )
    lines = (*((others,) if others else ()), *sentences(summary), *notes, MEDICAL)
    return Section(html, _figures(tally), lines)


def _notes(tally: Tally) -> list[str]:
    """What to know of doubtful and unknown loads."""
    notes = []
    if tally.doubtful_s:
        notes.append(
            f"unexplained force above {100 * DOUBTFUL:.0f} % of body weight for"
            f" {tally.doubtful_s:.1f} s: loads there are doubtful (a jump of the body, or a support"
            " besides the feet)"
        )
    if tally.unknown_s and tally.remark:
        notes.append(f"last reason for unknown loads: {tally.remark}")
    return notes


def _page(*parts: str) -> str:
    return f"<h2>Loads on the body</h2>{''.join(parts)}<p>{escape(MEDICAL)}</p>"


def _warning(words: str) -> str:
    return f'<p class="warn">{escape(words)}</p>'


def _load_table(tally: Tally) -> str:
    """Peaks and times above the thresholds, a row for each moment."""
    above = "".join(f"<th>above {100 * share:.0f} %, s</th>" for share in SHARES)
    rows = "".join(
        f"<tr><td>{name}</td><td>{tally.peaks[k]:.0f}</td><td>{100 * tally.peak_shares[k]:.0f}</td>"
        f"<td>{tally.peak_times[k]:.1f}</td><td>{_percent(tally.peak_residuals[k])}</td>"
        + "".join(f"<td>{seconds:.1f}</td>" for seconds in tally.above[:, k])
        + "</tr>"
        for k, name in enumerate(_NAMES)
    )
    head = (
        "<th>moment</th><th>peak, Nm</th><th>% of strength</th><th>at, s</th><th>unexplained force"
        f" then, % of weight</th>{above}"
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if np.isfinite(share) else "–"


def _posture_table(tally: Tally) -> str:
    """Highest scores and times at the two highest action levels; empty without scores."""
    worst = tally.worst()
    if worst is None:
        return ""
    rows = "".join(
        f"<tr><td>{name}</td><td>{highest} of {most}</td>{_at(seconds, *soon)}{_at(seconds, *now)}"
        "</tr>"
        for name, highest, most, seconds, (soon, now) in (
            ("RULA", worst.rula, 7, tally.rula, _RULA),
            ("REBA", worst.reba, 15, tally.reba, _REBA),
        )
    )
    head = "<th>posture</th><th>highest</th><th>action needed soon</th><th>now</th>"
    return f"<table><tr>{head}</tr>{rows}</table>"


def _at(seconds: NDArray[np.float64], first: int, last: int) -> str:
    words = f"{first} to {last - 1}" if last - first > 1 else f"{first}"
    return f"<td>{seconds[first:last].sum():.1f} s (score {words})</td>"


def _figures(tally: Tally) -> dict[str, float]:
    """For the overview of many bags; of shoulders and knees, those of the worse side."""
    of = dict(zip(WATCHED, tally.peak_shares.tolist()))
    figures = {
        "lumbar_peak_percent": 100 * of["lumbar"],
        **{
            f"{part}_peak_percent": 100 * max(of[f"left_{part}"], of[f"right_{part}"])
            for part in ("shoulder", "knee")
        },
    }
    worst = tally.worst()
    return figures if worst is None else {**figures, "rula": worst.rula, "reba": worst.reba}
