"""Reasons for rejecting samples, with remedies, and their counts by site.

Shown to users live and offline.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

_RECENT = 200
"""Number of samples of a site over which the current state is judged: two seconds at 100 Hz."""
_WORTH_SAYING = 0.05
"""Share of recent samples rejected above which a remark is made; below it only the counts grow."""
_MOST = 0.5
_MANY = 0.2
"""Shares of a site's samples, without and with a known remedy, that show that a sensor's values
have a different meaning.
"""


def _constant(text: str) -> Callable[[float], str]:
    return lambda value: text


def _apart(value: float) -> str:
    """Format a duration in s for people."""
    side = "ahead of" if value > 0 else "behind"
    return f"{_duration(abs(value))} {side} those of the other sensors"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 2 * 86400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 86400:.0f} days"


class Reason(Enum):
    """A reason: what is wrong (with a placeholder for the figure) and what to do."""

    UNREADABLE = (
        _constant("the message cannot be read, or carries no acceleration"),
        "publish sensor_msgs/Imu with linear_acceleration",
    )
    NOT_FINITE = (
        _constant("a value is not finite"),
        "look for divisions by zero in the driver",
    )
    NO_ORIENTATION = (
        _constant("there is no orientation, and no angular velocity to estimate it from"),
        "publish angular_velocity in rad/s, or the sensor's own orientation",
    )
    ZERO_QUATERNION = (
        _constant("the orientation is the quaternion 0 0 0 0, and there is no angular velocity"),
        "let the driver fill in the orientation, or publish angular_velocity in rad/s",
    )
    LOST_ORIENTATION = (
        _constant("the orientation is missing for a moment"),
        "check the connection and the sensor's fusion mode",
    )
    NOT_UNIT = (
        lambda value: f"the orientation is a quaternion of length {value:.4g}, not 1",
        "divide its four numbers by that length in the driver",
    )
    GLITCH = (
        lambda value: (
            f"the orientation jumps by {value:.0f} degrees, but the gyroscope shows no such turn"
        ),
        "a known problem of the BNO055: check wiring, I2C clock stretching and supply",
    )
    TOO_STRONG = (
        lambda value: f"the acceleration is {value:.4g} m/s^2, over 16 g",
        "send m/s^2, not mm/s^2, mg or raw counts",
    )
    IN_G = (
        lambda value: f"the acceleration is in g ({value:.2f} at rest, expected 9.81)",
        "send m/s^2: multiply by 9.80665",
    )
    GRAVITY_REMOVED = (
        lambda value: (
            f"gravity has been removed from the acceleration ({value:.1f} m/s^2 at rest, "
            "expected 9.81)"
        ),
        "send specific force, not free or linear acceleration",
    )
    DISAGREE = (
        lambda value: (
            f"orientation and acceleration disagree by {value:.0f} degrees about where up is"
        ),
        "check the order of the quaternion (x y z w), its direction (sensor to world) and the axes",
    )
    STAMP_ZERO = (
        _constant("the stamp is 0"),
        "let the driver set header.stamp to the time of the measurement",
    )
    STAMP_REPEATED = (
        lambda value: f"the stamp stays at {value:.3f} s",
        "let the driver set header.stamp for every measurement",
    )
    OTHER_CLOCK = (
        lambda value: f"the stamps are {_apart(value)}: another clock",
        "synchronise the clocks of both computers (chrony, PTP), or stamp on arrival",
    )

    def __init__(self, what: Callable[[float], str], remedy: str) -> None:
        self.what = what
        self.remedy = remedy

    @property
    def short(self) -> str:
        """Short name, used in counts."""
        return self.name.lower().replace("_", " ")


_MEANINGLESS = (Reason.IN_G, Reason.GRAVITY_REMOVED, Reason.DISAGREE)
"""Reasons that also make the bodies from earlier samples wrong."""


@dataclass(slots=True)
class _Site:
    total: int
    refused: Counter[Reason]
    value: dict[Reason, float]
    detail: dict[Reason, str]
    recent: deque[Reason | None]


class Refusals:
    """Counts of rejected samples by site and reason, and sentences about them."""

    def __init__(self, sites: Iterable[str]) -> None:
        self._sites = {site: _Site(0, Counter(), {}, {}, deque(maxlen=_RECENT)) for site in sites}

    def taken(self, site: str) -> None:
        """Count an accepted sample."""
        of_site = self._sites[site]
        of_site.total += 1
        of_site.recent.append(None)

    def refuse(self, site: str, reason: Reason, value: float = 0.0, detail: str = "") -> None:
        """Count a rejected sample; ``value``: the figure shown; ``detail``: replaces the remedy."""
        of_site = self._sites[site]
        of_site.total += 1
        of_site.refused[reason] += 1
        of_site.value[reason] = value
        of_site.detail[reason] = detail
        of_site.recent.append(reason)

    def count(self, site: str, reason: Reason | None = None) -> int:
        """Number of samples of a site rejected for a reason, or for any."""
        refused = self._sites[site].refused
        return refused.total() if reason is None else refused[reason]

    def total(self, site: str) -> int:
        """Number of samples of a site, accepted or not."""
        return self._sites[site].total

    def counts(self) -> dict[str, int]:
        """All rejections since the start, for diagnostics: "site: reason" -> samples."""
        return {
            f"{site}: {reason.short}": n
            for site, of_site in self._sites.items()
            for reason, n in of_site.refused.items()
        }

    def remarks(self) -> list[str]:
        """Describe current rejections, one sentence per reason."""
        now = {
            site: Counter(reason for reason in of_site.recent if reason is not None)
            for site, of_site in self._sites.items()
        }
        worth = {
            (site, reason)
            for site, reasons in now.items()
            for reason, n in reasons.items()
            if n >= max(_WORTH_SAYING * len(self._sites[site].recent), 2)
        }
        return self._sentences(lambda site, reason: (site, reason) in worth)

    def report(self, share: float = 0.0) -> list[str]:
        """Describe rejections since the start on more than ``share`` of a site's samples."""
        return self._sentences(
            lambda site, reason: self._sites[site].refused[reason] > share * self._sites[site].total
        )

    def meaningless(self) -> list[str]:
        """Describe rejections because a sensor's values have a different meaning.

        Only those that affect most of a site's samples, or many if another meaning fits: some
        mistakes show in some postures only.
        """

        def worth(site: str, reason: Reason) -> bool:
            of_site = self._sites[site]
            least = _MANY if of_site.detail[reason] else _MOST
            return reason in _MEANINGLESS and of_site.refused[reason] > least * of_site.total

        return self._sentences(worth)

    def _sentences(self, worth: Callable[[str, Reason], bool]) -> list[str]:
        """Return one sentence per reason, most frequent first.

        Each contains the figure of the first affected site.
        """
        found: dict[tuple[Reason, str], tuple[list[str], int, int]] = {}
        for site, of_site in self._sites.items():
            for reason, n in of_site.refused.items():
                if worth(site, reason):
                    key = reason, of_site.detail[reason] or reason.remedy
                    sites, count, total = found.get(key, ([], 0, 0))
                    found[key] = (sites + [site], count + n, total + of_site.total)
        ordered = sorted(found.items(), key=lambda entry: -entry[1][1])
        return [
            f"{', '.join(sites)}: {count} of {total} samples refused: "
            f"{reason.what(self._sites[sites[0]].value[reason])}: {remedy}"
            for (reason, remedy), (sites, count, total) in ordered
        ]
