"""`pallas generate`: generate a motion file from a description."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hpstm_ros.generation.poses import TOKENS
from hpstm_ros.generation.producer import GENERATORS, Outcome, Producer, document
from hpstm_ros.generation.request import Request, default_model, parse_hand
from hpstm_ros.language.encoder import TextEncoder, ignored_warning
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion, load_motion, save_motion
from pallas_ros.files.overwriting import check_outputs
from pallas_ros.files.parameters import add_option, described
from pallas_ros.view.figure import Figure, Person, check_clip, write_clip

_PARAMETERS = described("motion_generator")
HELP = "Generate motion from a description, a start and hand targets."
EXAMPLE = """
  pallas generate wave.npz "wave with the right hand" --seed 3
  pallas generate walk.npz "walk forward" --seconds 8 --candidates 4
      keeps the one of four that fits the text best
  pallas generate on.npz "sit down" --start recorded.npz
      continues from the end of a motion file
  pallas generate reach.npz "reach forward" --hand right 0.4,-0.2,1.3@2.0
      the right wrist reaches this point, in m from the start, after 2 s
  pallas generate wave.npz "wave" --robot panda --video wave.mp4
      also writes the joint file of the arm, and a video
  pallas generate wave.npz "wave" --candidates 4 --robot panda
      prefers those of the four that are slow enough for the arm
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "output", metavar="OUT", help="motion file to write, at 60 frames per second"
    )
    parser.add_argument("text", metavar="TEXT", help="what the person does, in English")
    parser.add_argument("--seconds", type=float, default=4.0, help="duration (default 4)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default 0)")
    parser.add_argument(
        "--candidates", type=int, default=1, metavar="K", help="generate K motions, keep the best"
    )
    parser.add_argument(
        "--model",
        choices=list(GENERATORS),
        help="generator (default latent; flow with --hand, or for other than 1 to 10 s)",
    )
    add_option(parser, "--steps", _PARAMETERS["steps"], "steps of the flow", metavar="N")
    parser.add_argument("--heun", action="store_true", help="use second-order steps of the flow")
    add_option(parser, "--guidance", _PARAMETERS["guidance"], "weight of the text", metavar="W")
    parser.add_argument(
        "--without-guard",
        action="store_true",
        help="allow requests for violence, and keep motion that the classifier rejects",
    )
    parser.add_argument("--start", metavar="F", help="motion file to continue")
    parser.add_argument(
        "--hand",
        nargs=2,
        action="append",
        default=[],
        metavar=("SIDE", "X,Y,Z@T"),
        help="target of a wrist in m from the start, and its time in s; may be repeated",
    )
    parser.add_argument(
        "--robot",
        metavar="R",
        help="prefer candidates that this arm can follow, and retarget the best one to"
        " OUT_joints.npz",
    )
    parser.add_argument("--video", metavar="F", help="also write a video, .mp4 or .gif")


def run(args: argparse.Namespace) -> int:
    """Generate a motion and write the file.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    check_outputs([args.output, args.video], [args.start, args.robot])
    request = Request(
        text=args.text,
        seconds=args.seconds,
        seed=args.seed,
        candidates=args.candidates,
        guidance=args.guidance,
        steps=args.steps,
        heun=args.heun,
        start=load_motion(args.start) if args.start else None,
        hands=tuple(parse_hand(words) for words in args.hand),
    )
    model = args.model or default_model(request)
    if Path(args.output).suffix != ".npz":
        raise PallasError(f"{args.output}: a motion file ends in .npz")
    if args.video:
        check_clip(args.video)
    with tqdm(total=1.0, bar_format="{desc:22s}|{bar}|", disable=None) as bar:

        def progress(stage: str, part: float) -> None:
            bar.set_description_str(stage, refresh=False)
            bar.update(part - bar.n)

        producer = _producer(args)
        outcome = producer.produce(request, model, progress)
    motion = document(outcome, request, model)
    save_motion(args.output, motion)
    for sentence in (*outcome.warnings, *_cut_for_poses(args)):
        print(f"warning: {sentence}")
    if args.video:
        film(args.video, motion, args.text)
    if args.robot:
        _retarget(args.output, args.robot)
    print(f"{args.output}: {_summary(outcome, request)}")
    return 0


def _cut_for_poses(args: argparse.Namespace) -> list[str]:
    """Warning about a text of which the poses read less than the other generators."""
    if args.model != "pose":
        return []
    warning = ignored_warning(TextEncoder.default().ignored(args.text, TOKENS))
    return [warning] if warning else []


def _summary(outcome: Outcome, request: Request) -> str:
    best = outcome.candidates[0]
    words = [f"{best.motion.duration:.1f} s, seed {request.seed}"]
    if request.candidates > 1:
        words.append(f"the best of {request.candidates}")
    if np.isfinite(best.score):
        words.append(f"alignment {best.score:.0f}")
    if request.hands:
        words.append(f"hands within {1000 * best.hand_error_m:.0f} mm")
    return ", ".join(words)


def film(path: str, motion: Motion, caption: str) -> None:
    """Write a video of a motion, with a caption above."""
    figure = Figure(size=(640, 480))
    frames = (
        figure.draw([Person(p - centre, q)], caption=caption[:70])
        for p, q, centre in zip(
            motion.positions[::2],
            motion.rotations[::2],
            motion.positions[::2, 0] * [1, 1, 0],
            strict=True,
        )
    )
    write_clip(path, frames, motion.fps / 2)


def _retarget(motion: str, robot: str) -> None:
    from hpstm_ros.commands import retarget

    parser = argparse.ArgumentParser()
    retarget.configure(parser)
    joints = str(Path(motion).with_name(f"{Path(motion).stem}_joints.npz"))
    retarget.run(parser.parse_args([motion, joints, "--robot", robot]))


def _producer(args: argparse.Namespace) -> Producer:
    """Create a producer with the requested guards and robot."""
    guards: dict[str, Any] = {}
    if args.without_guard:
        guards = {"refuses": lambda motion: None, "refuses_text": lambda text: None}
    if not args.robot:
        return Producer(**guards)
    from hpstm_ros.retarget.robots import load_robot
    from hpstm_ros.teleoperation.pacing import needed_stretch

    robot = load_robot(args.robot)
    return Producer(stretch=lambda motion: needed_stretch(motion, robot), **guards)
