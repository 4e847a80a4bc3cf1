"""The figures of the forces over a motion or a session, in words."""

from dataclasses import dataclass

from hpstm_ros.dynamics.ergonomics import Scores

HIGH_SHARE = 0.5
"""Share of the median adult's strength above which time is counted."""
MEDICAL = (
    "Net joint moments are computed from motion and an average body; they do not measure muscle,"
    " disc or joint contact forces. This is not a medical device, a diagnosis or a clearance for"
    " work."
)


@dataclass(frozen=True)
class Watched:
    """A reported moment over a motion.

    Peak in Nm, its share of the median adult's strength, and the time in s above `HIGH_SHARE`.
    """

    name: str
    peak: float
    share: float
    above: float


@dataclass(frozen=True)
class Summary:
    """The figures of a motion.

    Attributes:
        watched: one entry for each of `strength.WATCHED`.
        worst: highest RULA and REBA, or None if no frame is known.
        unknown: share of frames without forces.
        flight: s without contact.
        residual: rms of the residual force, as a share of body weight.
    """

    watched: tuple[Watched, ...]
    worst: Scores | None
    unknown: float
    flight: float
    residual: float


def sentences(summary: Summary) -> list[str]:
    """Return the figures as text, one line each."""
    lines = [
        f"{each.name.replace('_', ' ')}: peak {each.peak:.0f} Nm, {100 * each.share:.0f} % of the "
        f"median adult's strength; above {100 * HIGH_SHARE:.0f} % for {each.above:.1f} s"
        for each in summary.watched
    ]
    if summary.worst is not None:
        lines.append(
            f"posture: RULA up to {summary.worst.rula} of 7, REBA up to {summary.worst.reba} of 15"
        )
    return [*lines, *limits_of(summary)]


def limits_of(summary: Summary) -> list[str]:
    """Return what limits the figures: frames without support, unknown frames, the residual."""
    lines = []
    if summary.flight > 0:
        lines.append(f"no contact for {summary.flight:.2f} s: no ground force there")
    if summary.unknown > 0:
        lines.append(f"unknown for {100 * summary.unknown:.0f} % of the frames")
    lines.append(
        f"unexplained force at the pelvis: {100 * summary.residual:.1f} % of body weight (rms)"
    )
    return lines
