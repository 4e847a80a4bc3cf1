"""Concepts to unlearn, as pairs of requests that differ only in the concept."""

import re
from dataclasses import dataclass
from pathlib import Path

from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import resource, share
from pallas_ros.files.yaml_text import load_mapping

FOLDER = "config/concepts"
LONGEST = 200
"""Maximum number of characters of a request in a file of pairs."""
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class Concept:
    """A concept to unlearn.

    Attributes:
        name: of the concept.
        pairs: each a request with the concept, and the same request without it.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def load(cls, path: str | Path) -> "Concept":
        """Read a YAML file with ``pairs``, a list of [with the concept, without].

        Raises:
            PallasError: the file contains no valid pairs.
        """
        document = load_mapping(path, "concept file")
        rows = document.get("pairs")
        if not isinstance(rows, list) or not rows:
            raise PallasError(
                f"{path}: the concept has no pairs: list at least one under 'pairs', as [request"
                " with the concept, the same request without it]"
            )
        pairs = []
        for number, row in enumerate(rows, 1):
            good = isinstance(row, list) and len(row) == 2
            if not good or not all(isinstance(s, str) and 0 < len(s) <= LONGEST for s in row):
                raise PallasError(
                    f"{path}: pair {number} is not two sentences of at most {LONGEST} characters"
                )
            pairs.append((row[0], row[1]))
        return cls(str(document.get("name", Path(path).stem))[:80], tuple(pairs))

    @classmethod
    def named(cls, name: str) -> "Concept":
        """Return the concept called ``name`` in ``config/concepts``.

        Raises:
            PallasError: there is no concept of this name.
        """
        known = sorted(path.stem for path in (share() / FOLDER).glob("*.yaml"))
        if name not in known:
            raise PallasError(
                f"concept '{name[:80]}' has no pairs: known are {', '.join(known)}; give pairs of"
                " sentences with --pairs FILE"
            )
        return cls.load(resource(f"{FOLDER}/{name}.yaml"))

    @property
    def words(self) -> frozenset[str]:
        """Words that occur in requests with the concept but in no request without it."""
        with_it, without = (
            {word for pair in self.pairs for word in _WORD.findall(pair[side].lower())}
            for side in (0, 1)
        )
        return frozenset(with_it - without)

    def mentioned(self, text: str) -> bool:
        """Whether a description contains one of the words of the concept."""
        return not self.words.isdisjoint(_WORD.findall(text.lower()))
