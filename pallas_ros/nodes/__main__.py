"""`python -m pallas_ros.nodes NAME [--ros-args ...]`: run the node of that entry point.

Further nodes follow after ``+`` and run in the same process.
"""

import os
import signal
import sys


def main(*names: str) -> int:
    """Run the nodes in ``names`` (default: the command line's) and end the process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            number, lambda *_: os._exit(0)
        )  # nothing is open yet; `run` installs its own handlers before opening anything
    from pallas_ros.ros import run

    groups = [[*names, *sys.argv[1:]]] if names else split(sys.argv[1:])
    if not groups[0] or groups[0][0].startswith("-"):
        print(
            "usage: python -m pallas_ros.nodes NAME [--ros-args ...] [+ NAME [--ros-args ...]] ...",
            file=sys.stderr,
        )
        return 2
    status = run.main([(group[0], group[1:]) for group in groups])
    # Everything is closed. Tearing down the interpreter and its modules takes 0.2 to 0.6 s of
    # processor time per node, which all nodes would use at once when the graph stops.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def split(words: list[str]) -> list[list[str]]:
    """Split arguments at ``+``."""
    groups: list[list[str]] = [[]]
    for word in words:
        if word == "+":
            groups.append([])
        else:
            groups[-1].append(word)
    return groups


if __name__ == "__main__":
    sys.exit(main())
