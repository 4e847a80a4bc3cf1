"""`pallas dynamics`: compute the forces in a moving body from a motion file."""

import argparse
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from hpstm_ros.dynamics.anthropometry import check_load, check_mass
from hpstm_ros.dynamics.figures import MEDICAL, sentences
from hpstm_ros.dynamics.files import save_dynamics
from hpstm_ros.dynamics.human import Human
from hpstm_ros.dynamics.network import HDYS, analyse_network, at_model_rate
from hpstm_ros.dynamics.offline import CUTOFF_HZ, Dynamics, analyse, measured_offsets
from hpstm_ros.dynamics.points import read_body, stature
from hpstm_ros.dynamics.rigid_body import EXTRA_CONTACTS, RigidBodySettings
from hpstm_ros.dynamics.summary import summarise, write_page
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.resources import resource
from pallas_ros.body.skeleton import HEIGHT_RANGE_M
from pallas_ros.files.overwriting import check_outputs
from pallas_ros.files.parameters import add_option, described
from pallas_ros.motion_files import add_options, overrides_from

_PARAMETERS = described("dynamics")
HELP = "Compute joint moments, ground reaction and load from a motion file."
EXAMPLE = """\
  pallas dynamics walk.npz walk_forces.npz --mass 75
  pallas dynamics lift.npz lift_forces.npz --mass 75 --load 10 --hand both    5 kg in each hand
  pallas dynamics sit.bvh sit_forces.npz --mass 62 --contacts seat    a seat carries the rest
  pallas dynamics walk.npz out.npz --mass 75 --report walk.html       plots, peaks, time above"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "input",
        metavar="IN",
        help="motion file (.npz, BVH, AMASS/SMPL, MVNX, C3D, TRC); an .npz may contain"
        " positions only, with NaN for missing joints",
    )
    parser.add_argument("output", metavar="OUT", help="dynamics file to write (.npz)")
    add_option(parser, "--mass", _PARAMETERS["mass_kg"], "mass of the body", required=True)
    parser.add_argument(
        "--height",
        type=float,
        metavar="M",
        help="height of the person (default: derived from the bone lengths)",
    )
    add_option(parser, "--sex", _PARAMETERS["sex"])
    add_option(parser, "--load", _PARAMETERS["load_right_kg"], "carried mass")
    parser.add_argument(
        "--hand",
        choices=("left", "right", "both"),
        default="right",
        help="the hand that carries the load (default: right)",
    )
    parser.add_argument(
        "--contacts",
        nargs="+",
        default=[],
        choices=EXTRA_CONTACTS,
        help="contacts that support the body besides the feet",
    )
    parser.add_argument(
        "--floor", type=float, metavar="Z", help="height of the ground in m (default: estimated)"
    )
    parser.add_argument(
        "--cutoff",
        type=float,
        default=CUTOFF_HZ,
        metavar="HZ",
        help="cutoff of the zero-phase low-pass filter, 1 to 30 (default: %(default)g)",
    )
    add_option(
        parser,
        "--method",
        _PARAMETERS["method"],
        "inverse dynamics, or a network that approximates it",
    )
    add_option(
        parser,
        "--model",
        _PARAMETERS["model"],
        "network of --method hdys; `pallas train dynamics` makes one",
        metavar="ONNX",
    )
    parser.add_argument("--report", type=Path, metavar="HTML", help="also write a page of plots")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Compute the forces of one file."""
    check_mass(args.mass)
    check_load(args.load)
    _check(args)
    check_outputs([args.output, args.report], [args.input, args.model, args.map])
    motion, found = read_body(args.input, overrides_from(args))
    print(f"{args.input}: {found}", flush=True)
    if args.method == HDYS:
        motion = at_model_rate(motion)
    human = Human(measured_offsets(motion), args.mass, args.height or stature(motion), args.sex)
    for side in ("left", "right"):
        if args.hand in (side, "both"):
            human.carry(args.load / (2 if args.hand == "both" else 1), side)
    with tqdm(total=len(motion), unit=" frames", desc="dynamics", disable=None) as bar:
        dynamics = _analyse(args, motion, human, bar.update)
    summary = summarise(dynamics, motion, args.sex)
    for line in [*sentences(summary), *dynamics.remarks]:
        print(f"  {line}")
    print(f"  {MEDICAL}")
    if args.report is not None:
        write_page(args.report, dynamics, motion, summary, Path(args.input).name)
    save_dynamics(args.output, dynamics)
    print(f"{args.output}: {len(dynamics.t)} frames, {int(dynamics.valid.sum())} known")
    return 0


def _analyse(
    args: argparse.Namespace, motion: Motion, human: Human, progress: Callable[[int], object]
) -> Dynamics:
    options = {"floor": args.floor, "cutoff": args.cutoff}
    if args.method == HDYS:
        if args.contacts:
            raise PallasError("--contacts: HDyS does not model contacts other than the feet")
        return analyse_network(motion, human, resource(args.model), progress=progress, **options)
    settings = RigidBodySettings(extra=tuple(dict.fromkeys(args.contacts)))
    return analyse(motion, human, settings, progress=progress, **options)


def _check(args: argparse.Namespace) -> None:
    low, high = HEIGHT_RANGE_M
    if args.height is not None and not low <= args.height <= high:
        raise PallasError(f"--height {args.height:g}: give {low:g} to {high:g} m")
    if not 1 <= args.cutoff <= 30:
        raise PallasError(f"--cutoff {args.cutoff:g}: give 1 to 30 Hz")
    if args.floor is not None and not abs(args.floor) <= 1000:
        raise PallasError(f"--floor {args.floor:g}: give the ground's height in m")
