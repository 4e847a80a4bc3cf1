"""Exception with a message for the user; shortens echoed values."""

import re

LONGEST_VALUE = 80
"""Maximum characters of an echoed value: recognisable, but cannot flood a terminal or log."""
LONGEST_PATH = 400
"""Maximum characters of a path: users need all of it to find the file; Linux allows 4096."""
LONGEST_MESSAGE = 1500
"""Maximum characters of a message."""
_CONSIDERED = 10 * LONGEST_MESSAGE
"""Characters of a message that are looked at: a value of a parameter may have megabytes."""

_MORE = f"{{{LONGEST_VALUE + 1},}}"
# In linear time: a part that does not match ends where the next one can begin.
_QUOTED = re.compile(
    # an opening quote follows a space or a bracket, unlike an apostrophe
    rf"(?<![^\s(\[{{=:,])(?:'[^']{_MORE}'|\"[^\"]{_MORE}\")(?!\w)"
    rf"|\[[^\[\]]{_MORE}\]|{{[^{{}}]{_MORE}}}"
)
_WORD = re.compile(rf"[^\s'\"]{_MORE}")


class PallasError(Exception):
    """Invalid input or configuration: one sentence that says what is wrong, where, and what to do.

    The command line prints the sentence and exits with status 2; a node logs it and continues, or
    fails to configure. Echoed values are shortened here, and control characters are escaped, so
    that no file can flood or rewrite a terminal.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(readable(str(message)))


def readable(message: str) -> str:
    """Format a message as one line: escape control characters, shorten quotes and long words."""
    if len(message) > _CONSIDERED:  # no spaces around the dots, which would end a word
        message = f"{message[: _CONSIDERED * 2 // 3]}...{message[-_CONSIDERED // 3 :]}"
    message = " ".join(message.split()) if "\n" in message or "\r" in message else message
    if not message.isprintable():
        message = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in message)
    if len(message) <= LONGEST_VALUE:
        return message
    message = _QUOTED.sub(lambda found: _quoted(found.group()), message)
    message = _WORD.sub(lambda found: _word(found.group()), message)
    return shorten(message, LONGEST_MESSAGE)


def shorten(text: str, longest: int = LONGEST_VALUE) -> str:
    """Return the text, or its beginning and end if it is longer than ``longest`` characters."""
    if len(text) <= longest:
        return text
    head = (longest - 5) * 2 // 3
    return f"{text[:head]} ... {text[len(text) - (longest - 5 - head) :]}"


def echoed(name: str) -> str:
    """Return a name given by another program as it may be shown: printable and not long."""
    return shorten(readable(name))


def _quoted(text: str) -> str:
    return text[0] + _word(text[1:-1]) + text[-1]


def _word(text: str) -> str:
    return shorten(text, LONGEST_PATH if "/" in text and " " not in text else LONGEST_VALUE)
