"""`pallas heading`: correct the headings of the worn sensors in the running graph."""

import argparse

from pallas_ros.body.names import ALL_SITES
from pallas_ros.imu.heading_reset import STANCES

HELP = "Reset the headings of the worn sensors on the running graph, without calibrating again."

EXAMPLE = """\
examples:
  pallas heading
      all sensors; stand and look straight ahead: this becomes +x
  pallas heading left_wrist            this sensor only, relative to the trunk
  pallas heading --stance forward      the forearms point forward, overriding the detection

Stand straight; each forearm hangs with the palm to the thigh, points forward, or points sideways.
In the terminal of `pallas up`, key h does the same for all sensors, and 1 to 4 for one sensor."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "site",
        nargs="?",
        choices=ALL_SITES,
        metavar="SITE",
        help=f"the sensor to reset: {', '.join(ALL_SITES)} (default: all)",
    )
    parser.add_argument(
        "--stance",
        default="",
        choices=STANCES,
        help="how the forearms are held (default: detected)",
    )


def run(args: argparse.Namespace) -> int:
    """Call the service of `pallas_node`."""
    from pallas.srv import ResetHeading

    from pallas_ros.ros.asking import ask

    answer = ask(
        ResetHeading, "/pallas_node/reset_heading", site=args.site or "", stance=args.stance
    )
    print(answer.message)
    return 0
