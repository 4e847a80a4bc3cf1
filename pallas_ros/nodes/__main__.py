"""`python -m pallas_ros.nodes NAME [NAME ...] [--ros-args ...]`: run the nodes of those entry points in one process."""

import os
import signal
import sys


def main(*names: str) -> int:
    """Run ``names``, or where none is given those on the command line before the first option."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(0))  # nothing is open yet; `run` takes the signals over
    from pallas_ros.ros import run

    arguments = sys.argv[1:]
    given = list(names)
    while not names and arguments and not arguments[0].startswith("-"):
        given.append(arguments.pop(0))
    if not given:
        print("usage: python -m pallas_ros.nodes NAME [NAME ...] [--ros-args ...]", file=sys.stderr)
        return 2
    return run.main(given, arguments)


if __name__ == "__main__":
    sys.exit(main())
