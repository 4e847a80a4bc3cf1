"""`pallas up`: start the node graph like `bringup.launch.py`, without needing `launch`."""

import argparse
import sys

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.graph.description import Graph, read_config
from pallas_ros.graph.foreground import parse, run_graph

HELP = "Start the whole graph of nodes: sensors (or simulated ones), body, smoothing, arm."

EXAMPLE = """\
examples:
  pallas up
      simulated sensors and a simulated Panda, until Ctrl-C
  pallas up --duration 20 --record recordings/first      20 s, recorded to a bag
  pallas up imu_source:=serial calibration:=me.yaml robot:=ur5 arm:=real
  pallas up --config my_graph.yaml                       arguments and parameter files from a file

The nodes run as separate processes. By default, only programs on this machine can discover them;
discovery:=subnet opens the graph to the network. To run a second graph at the same time, set
another ROS_DOMAIN_ID. `pallas up --arguments` lists the arguments."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="name:=value",
        help="arguments of the graph, as for ros2 launch",
    )
    parser.add_argument(
        "--config",
        metavar="F",
        help="YAML file with 'arguments' and 'parameter_files' (node: path)",
    )
    parser.add_argument("--duration", type=float, metavar="S", help="stop after this many seconds")
    parser.add_argument(
        "--record", metavar="DIR", help="record a bag in DIR (the same as record:=DIR)"
    )
    parser.add_argument(
        "--single-process", action="store_true", help="run all nodes in one process"
    )
    parser.add_argument(
        "--arguments",
        action="store_true",
        dest="list_arguments",
        help="list the arguments of the graph, and exit",
    )


def run(args: argparse.Namespace) -> int:
    """Run the graph until Ctrl-C, ``--duration``, or a node exits.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    graph = Graph.load()
    if args.list_arguments:
        for argument in graph.arguments.values():
            choices = (
                f" [{'|'.join(choice or '(empty)' for choice in argument.choices)}]"
                if argument.choices
                else ""
            )
            print(f"{argument.name}:={argument.default or '(empty)'}{choices}\n    {argument.help}")
        return 0
    given, files = read_config(args.config) if args.config else ({}, {})
    given.update(parse(args.arguments))
    if args.record:
        given["record"] = args.record
    if args.duration is not None and not 0 < args.duration < 1e7:
        raise PallasError(f"--duration {args.duration:g}: give more than 0 s and less than 1e7 s")
    nodes = graph.resolve(given, files)
    if not nodes:
        raise PallasError("with these arguments no node runs: enable at least one")
    return run_graph(
        nodes,
        single_process=args.single_process,
        duration=args.duration,
        discovery=graph.complete(given)["discovery"],
        keys=heading_keys() if any(node.node == "pallas_node" for node in nodes) else None,
        keys_help="h resets headings, 1-4 of one sensor",
    )


def heading_keys() -> dict[str, list[str]]:
    """Return key -> command: ``h`` corrects all headings, ``1`` to ``4`` that of one sensor.

    Numbers are in the order of `SITES`.
    """
    command = [sys.executable, "-m", "pallas_ros.cli", "heading"]
    return {"h": command} | {str(n): [*command, site] for n, site in enumerate(SITES, 1)}
