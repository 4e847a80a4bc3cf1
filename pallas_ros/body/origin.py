"""Provenance of a generated motion: in motion files, in messages, and as text."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

GENERATED: Final = "generated"
"""The first remark of every generated body."""
REQUEST: Final = "request: "
"""Prefix of the remark with the text; the following remark contains the rest."""
_SHOWN = 120
"""Maximum length of a request in remarks, since 60 bodies per second carry it."""


@dataclass(frozen=True)
class Origin:
    """A request and its result.

    Attributes:
        text: the request; empty if there were only targets or a start.
        model: name of the generator.
        seed: of the noise.
        alignment: score of motion and text, 0 to 100; NaN if unknown.
        candidates: (K,) alignment scores of all candidates that were kept, best first.
    """

    text: str
    model: str
    seed: int
    alignment: float = math.nan
    candidates: tuple[float, ...] = ()

    @classmethod
    def of(cls, extra: Mapping[str, NDArray[Any]] | None) -> "Origin | None":
        """Read the provenance from the additional arrays of a motion file; None if absent.

        Args:
            extra: name to array, scalar or ``candidates`` (K,), see `arrays`.
        """
        found = extra or {}
        try:
            return cls(
                str(found["text"][()]),
                str(found["model"][()]),
                int(found["seed"]),
                float(found["alignment"]),
                tuple(np.asarray(found.get("candidates", ()), np.float64).ravel().tolist()),
            )
        except (KeyError, ValueError, TypeError, OverflowError, IndexError):
            return None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Convert to additional arrays of a motion file, scalars and ``candidates`` (K,).

        Inverse of `of`.
        """
        return {
            "text": np.array(self.text),
            "model": np.array(self.model),
            "seed": np.array(self.seed),
            "alignment": np.array(self.alignment),
            "candidates": np.array(self.candidates, dtype=np.float64),
        }

    def lines(self) -> tuple[str, str]:
        """Two lines of text: the request, and the rest."""
        text = " ".join(self.text.split())
        if len(text) > _SHOWN:
            text = f"{text[:_SHOWN]}..."
        parts = [self.model, f"seed {self.seed}"]
        if math.isfinite(self.alignment):
            parts.append(f"alignment {self.alignment:.0f} of 100")
        if len(self.candidates) > 1:
            scores = [f"{score:.0f}" if math.isfinite(score) else "?" for score in self.candidates]
            parts.append(f"best of {len(scores)} ({', '.join(scores)})")
        return f"{REQUEST}{text or '(no text)'}", ", ".join(parts)


def request_in(remarks: tuple[str, ...] | list[str]) -> tuple[str, str] | None:
    """The two lines of `Origin.lines` among the remarks of a body, or None."""
    for index, remark in enumerate(remarks):
        if remark.startswith(REQUEST):
            following = remarks[index + 1] if index + 1 < len(remarks) else ""
            return remark.removeprefix(REQUEST), following
    return None
