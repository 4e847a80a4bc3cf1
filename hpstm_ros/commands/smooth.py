"""`pallas smooth`: smooths a motion file with the same streaming code as the node."""

import argparse
from pathlib import Path

from tqdm import tqdm

from hpstm_ros.smoothing.bones import BoneLengths
from hpstm_ros.smoothing.offline import smooth_motion
from hpstm_ros.smoothing.smoother import SMOOTHERS, Smoother, SmootherSettings
from pallas_ros.body.motion import save_motion
from pallas_ros.files.overwriting import check_outputs
from pallas_ros.files.parameters import add_option, described
from pallas_ros.motion_files import add_options, overrides_from, read_for_streaming

_PARAMETERS = described("hpstm")

HELP = (
    "Smooth a motion file: noise, outliers, gaps, swapped sides; adds a covariance for every joint."
)
EXAMPLE = """
  pallas smooth noisy.npz smooth.npz
      like the node with a look-ahead of 10 frames
  pallas smooth noisy.npz smooth.npz --lookahead 0       without look-ahead
  pallas smooth dance.bvh dance.npz
      motion files of other tools (docs/guide/motion.md)
  pallas smooth gaps.npz whole.npz --fill
      gaps of 0.5 to 3 s are filled with the predicted body, and marked in `filled`
  pallas smooth a.npz b.npz --bones operator.npz
      with the operator's bone lengths, which the first run estimates and saves
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "input",
        metavar="IN",
        help=(
            "motion file (.npz, BVH, AMASS/SMPL, MVNX, C3D, TRC); NaN joints and frames that are"
            " not valid are bridged"
        ),
    )
    parser.add_argument(
        "output", metavar="OUT", help="motion file to write, at 60 frames per second"
    )
    add_option(
        parser,
        "--lookahead",
        _PARAMETERS["lookahead"],
        "frames after each body that are taken into account",
        default=10,
        metavar="N",
    )
    parser.add_argument(
        "--method",
        choices=list(SMOOTHERS),
        default="hpstm",
        help="the network (default), a classical filter, or only bridging of gaps",
    )
    add_option(parser, "--model", _PARAMETERS["model"], "the network")
    add_option(parser, "--backend", _PARAMETERS["backend"], "inference backend")
    parser.add_argument(
        "--trust-rotations",
        action="store_true",
        help="keep the twist of each bone, because the orientations in IN are measured",
    )
    add_option(
        parser,
        "--bridge",
        _PARAMETERS["bridge_s"],
        "how long to extrapolate a body that is not seen",
    )
    parser.add_argument(
        "--fill",
        action="store_true",
        help="fill gaps that are too long to bridge, up to 3 s",
    )
    parser.add_argument(
        "--bones",
        metavar="F",
        help="bone lengths of the operator: loaded if F exists, otherwise saved there",
    )
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Smooth one file."""
    check_outputs([args.output], [args.input, args.bones, args.model, args.map])
    source = read_for_streaming(args.input, overrides_from(args))
    motion = source.motion
    print(f"{args.input}: {source.found}", flush=True)
    bones = Path(args.bones) if args.bones else None
    settings = SmootherSettings(
        method=args.method,
        lookahead=args.lookahead,
        model=args.model,
        backend=args.backend,
        trust_rotations=args.trust_rotations,
        bridge_s=args.bridge,
        bones=BoneLengths.load(bones) if bones is not None and bones.is_file() else None,
    )
    smoother = Smoother(settings)
    with tqdm(total=len(motion), unit=" frames", desc="smoothing", disable=None) as bar:
        smooth = smooth_motion(motion, smoother, bar.update)
    filled = ""
    if args.fill:
        from hpstm_ros.generation.expectation import Expectation
        from hpstm_ros.generation.filling import fill, seen_frames

        result = fill(smooth, seen_frames(motion, len(smooth)), Expectation())
        smooth = result.motion
        filled = f"; {result.gaps} gaps filled, {result.left} left"
    save_motion(args.output, smooth)
    if bones is not None and not bones.is_file() and smoother.bones is not None:
        smoother.bones.save(bones)
    met = (
        ", ".join(f"{name} {count}" for name, count in smoother.failures.items())
        or "nothing unusual"
    )
    lost = 0 if smooth.valid is None else int((~smooth.valid).sum())
    print(
        f"{args.output}: {len(smooth)} frames, {smooth.duration:.1f} s, look-ahead"
        f" {args.lookahead}; met: {met}; {lost} frames lost{filled}"
    )
    return 0
