"""Locate where a process hangs: it answers a signal with the stack of its main thread."""

import contextlib
import faulthandler
import os
import re
import signal
import time
from pathlib import Path

_SIGNAL = signal.SIGUSR2
_FRAME = re.compile(r'  File "(?:.*/)?([^/"]+)", line (\d+) in (\S+)')
_FRAMES = 3
_ANSWER_S = 0.2  # the answer is written in the signal handler, which waits for no lock


def answer() -> None:
    """Let this process answer on its standard error."""
    faulthandler.register(_SIGNAL, all_threads=False)


def ask(process: int, output: int) -> str:
    """Return the innermost functions of a process; empty if it does not answer.

    Args:
        process: its id.
        output: non-blocking file descriptor of its standard error, read to its end before.
    """
    if not _answers(process):
        return ""
    with contextlib.suppress(OSError):
        os.kill(process, _SIGNAL)
    time.sleep(_ANSWER_S)
    try:
        text = os.read(output, 65536).decode(errors="replace")
    except BlockingIOError:
        return ""
    frames = [match.groups() for match in map(_FRAME.match, text.splitlines()) if match]
    return ", called by ".join(f"{name} ({file}:{line})" for file, line, name in frames[:_FRAMES])


def _answers(process: int) -> bool:
    """Whether a process handles the signal, which would end it otherwise."""
    try:
        words = Path(f"/proc/{process}/status").read_text().split()
        return bool(int(words[words.index("SigCgt:") + 1], 16) >> (_SIGNAL - 1) & 1)
    except (OSError, ValueError):
        return False
