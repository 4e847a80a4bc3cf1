"""Tokenizers of text encoders, from untrusted files.

A tokenizer file describes steps that rewrite a text. Steps that can multiply its length are
rejected: a few of them in sequence would fill the memory.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pallas_ros.body.errors import PallasError
from pallas_ros.files.json_text import load_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_BYTES: Final = 64 << 20
MAX_STEPS: Final = 16
"""Maximum number of steps of each kind; CLIP has three."""
_NORMALIZERS: Final = frozenset(
    ("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Strip", "StripAccents")
)
_PRE_TOKENIZERS: Final = frozenset(
    (
        "BertPreTokenizer",
        "ByteLevel",
        "CharDelimiterSplit",
        "Digits",
        "Punctuation",
        "Split",
        "UnicodeScripts",
        "Whitespace",
        "WhitespaceSplit",
    )
)
_POST_PROCESSORS: Final = frozenset(
    ("BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing")
)
_LISTS: Final = {
    "normalizer": ("normalizers", _NORMALIZERS),
    "pre_tokenizer": ("pretokenizers", _PRE_TOKENIZERS),
    "post_processor": ("processors", _POST_PROCESSORS),
}


def load_tokenizer(path: Path, most: int) -> "Tokenizer":
    """Load a tokenizer that truncates texts to ``most`` tokens.

    Raises:
        PallasError: the library or the file is missing, or the file is not a tokenizer, or has
            steps that are not supported.
    """
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise PallasError(
            "the tokenizer is not installed: run `make setup`, or "
            "pip install 'pallas-ros[generate]'"
        ) from None
    document = load_json(path, "tokenizer", MAX_BYTES)
    _check(document, path)
    try:
        # what was checked, not the file: parsers differ in duplicate keys
        tokenizer = Tokenizer.from_str(json.dumps(document))
    except Exception as error:  # the library raises bare exceptions
        raise PallasError(f"{path}: not a tokenizer ({error})") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(most)
    return tokenizer


def _check(document: object, path: Path) -> None:
    """Reject steps that can multiply the length of a text."""
    if not isinstance(document, dict):
        raise PallasError(f"{path}: not a tokenizer")
    for part in _LISTS:
        steps = list(_steps(document.get(part), part))
        bytes_to_text = sum(_type(step) == "ByteLevel" for step in steps)
        if len(steps) > MAX_STEPS or bytes_to_text > 1:
            raise PallasError(f"{path}: the {part} of this tokenizer has too many steps")
        for step in steps:
            if not _bounded(step, part):
                raise PallasError(
                    f"{path}: the {part} '{_type(step)}' of this tokenizer is not supported,"
                    " because it can multiply the length of a text"
                )


def _steps(step: object, part: str) -> Iterator[object]:
    """The steps of a part, with sequences resolved."""
    if _type(step) != "Sequence" or not isinstance(step, dict):
        if step is not None:
            yield step
        return
    parts = step.get(_LISTS[part][0])
    for inner in parts if isinstance(parts, list) else ():
        yield from _steps(inner, part)


def _bounded(step: object, part: str) -> bool:
    """Whether a step is known and adds at most a constant number of characters per character."""
    if not isinstance(step, dict):
        return False
    if part == "normalizer" and step.get("type") == "Replace":
        return _shortens(step)
    if step.get("type") == "TemplateProcessing":
        return _adds_few_tokens(step)
    kind = step.get("type")
    return isinstance(kind, str) and kind in _LISTS[part][1]


def _shortens(step: dict[str, Any]) -> bool:
    """Whether a replacement never makes a text longer; CLIP merges white space.

    The replacement must be ASCII, because later steps can expand other characters.
    """
    pattern = step.get("pattern")
    content = step.get("content")
    if not isinstance(pattern, dict) or not isinstance(content, str) or not content.isascii():
        return False
    if "Regex" in pattern:
        return pattern == {"Regex": "\\s+"} and len(content) <= 1
    literal = pattern.get("String")
    return isinstance(literal, str) and literal != "" and len(content) <= len(literal)


def _adds_few_tokens(step: dict[str, Any]) -> bool:
    """Whether templates contain each text at most once, and special tokens are single tokens."""
    special = step.get("special_tokens")
    if not isinstance(special, dict):
        return False
    single = all(
        isinstance(token, dict) and _is_single(token.get("ids")) and _is_single(token.get("tokens"))
        for token in special.values()
    )
    return single and all(_is_short(step.get(name)) for name in ("single", "pair"))


def _is_single(values: object) -> bool:
    return isinstance(values, list) and len(values) == 1


def _is_short(template: object) -> bool:
    if not isinstance(template, list) or len(template) > MAX_STEPS:
        return False
    texts = [str(piece["Sequence"]) for piece in template if _is_text(piece)]
    return len(texts) == len(set(texts)) <= 2


def _is_text(piece: object) -> bool:
    return isinstance(piece, dict) and "Sequence" in piece


def _type(step: object) -> str:
    return str(step.get("type")) if isinstance(step, dict) else str(step)
