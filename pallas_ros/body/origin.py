"""What a generated motion came from: in a motion file, in messages and in words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

GENERATED: Final = "generated"
"""The first remark of every generated body."""
REQUEST: Final = "request: "
"""How the remark with the text begins, after which comes the remark with the rest."""
_SHOWN = 120
"""Letters of a request that are shown; 60 bodies a second carry them."""


@dataclass(frozen=True)
class Origin:
    """A request and what it gave.

    Attributes:
        text: the request; empty where there were only targets or a start.
        model: the generator.
        seed: of the noise.
        alignment: of the motion with the text, 0 to 100; NaN where it is not known.
        candidates: the alignments of all that were drawn and kept, the best first.
    """

    text: str
    model: str
    seed: int
    alignment: float = math.nan
    candidates: tuple[float, ...] = ()

    @classmethod
    def of(cls, extra: Mapping[str, NDArray[Any]] | None) -> "Origin | None":
        """From the additional arrays of a motion file; None where they do not say."""
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
        """For a motion file: undone by `of`."""
        return {
            "text": np.array(self.text),
            "model": np.array(self.model),
            "seed": np.array(self.seed),
            "alignment": np.array(self.alignment),
            "candidates": np.array(self.candidates, dtype=np.float64),
        }

    def lines(self) -> tuple[str, str]:
        """The request, and the rest, in words."""
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
