"""`pallas policy`: write the permissions of the running graph's nodes as an SROS2 policy."""

import argparse
from pathlib import Path

from pallas_ros.body.errors import PallasError
from pallas_ros.files.writing import save_text
from pallas_ros.ros import middleware

HELP = (
    "Write an SROS2 policy for the running graph: which node may publish, subscribe, serve and"
    " call what."
)

EXAMPLE = """\
examples:
  pallas up record:=bags/a view:=true operator:=auto    start everything to be permitted
  pallas policy security/policy.xml                     in another terminal
  ros2 security create_keystore security/keys
      these three on a machine with ROS 2 and sros2
  ros2 security create_enclave security/keys /pallas/retarget         for each node of the policy
  ros2 security create_permission security/keys /pallas/retarget security/policy.xml
  ROS_SECURITY_ENABLE=true ROS_SECURITY_STRATEGY=Enforce ROS_SECURITY_KEYSTORE=security/keys \\
      pallas up

Each node has its own enclave, /pallas/<node>, which `pallas up` and the launch files use if
ROS_SECURITY_ENABLE is true. The Fast DDS in the ROS 2 wheels of `make setup` is built without
security plugins; nodes then exit with a message. ROS's own packages include the plugins."""

SETTLE_S = 4.0
"""Discovery is complete when nothing new appeared for this time: participants announce themselves
at least every 3 s.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "out", type=Path, help="file to write (.xml); an existing file is not overwritten"
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=SETTLE_S,
        metavar="S",
        help="stop discovering after this time without anything new (default: 4)",
    )
    middleware.add_option(parser)


def run(args: argparse.Namespace) -> int:
    """Inspect the graph and write the policy.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    if args.out.exists():
        raise PallasError(f"{args.out}: already exists; give another name, or remove it")
    if not 0 < args.wait <= 60:
        raise PallasError(f"--wait {args.wait}: give seconds, more than 0 and at most 60")
    from pallas_ros.graph.policy import policy, table
    from pallas_ros.nodes.rights import listening, settled

    middleware.prepare(args.discovery)
    with listening() as listener:
        nodes = settled(listener, args.wait)
    if not nodes:
        raise PallasError(
            "no node is running: start the graph first (pallas up), and keep it running"
        )
    save_text(args.out, policy(nodes))
    print(table(nodes))
    print(f"wrote {args.out}: the rights of {len(nodes)} nodes ({', '.join(sorted(nodes))})")
    return 0
