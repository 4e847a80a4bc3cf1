"""`pallas say`: send sentences to the running graph, which generates and plays their motion."""

import argparse
import math
from typing import Any

from tqdm import tqdm

from hpstm_ros.generation.request import Request, check, default_model, limits
from hpstm_ros.generation.stream import motion_of
from hpstm_ros.retarget.robots import RobotDescription, load_robot
from hpstm_ros.teleoperation.pacing import needed_stretch, settle
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import ACTION_GENERATE

HELP = "Generate motion from sentences and play it on the running graph, one after the other."
EXAMPLE = """\
  pallas up imu_source:=none body:=generated robot:=panda operator:=auto     # in another terminal
  pallas say "wave with the right hand"
  pallas say "reach forward" "step back" --seconds 3 --candidates 4
  pallas say "wave" --robot panda
      requests a longer motion if the arm's speed limits would clip this one

The node rejects violent motion and requests that it cannot meet, with a message. Transitions
between sentences are blended. Ctrl-C cancels: the body is blended to rest within 0.3 s."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "sentences", nargs="+", metavar="SENTENCE", help="what the person does, in English"
    )
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="duration of each motion (default 4)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default 0)")
    parser.add_argument(
        "--candidates", type=int, default=1, metavar="K", help="generate K motions, play the best"
    )
    parser.add_argument("--model", default="", help="generator (default: the node's)")
    parser.add_argument(
        "--robot", metavar="R", help="adapt the duration to this arm, given by name or URDF"
    )


def run(args: argparse.Namespace) -> int:
    """Play the sentences."""
    robot = load_robot(args.robot) if args.robot else None
    for sentence in args.sentences:
        check(Request(sentence, args.seconds, args.seed, args.candidates))
    for sentence in args.sentences:
        seconds = args.seconds if robot is None else _adapted(args, sentence, robot)
        result = _ask(args, sentence, seconds, play=True)
        score = "" if math.isnan(result.alignment) else f", alignment {result.alignment:.0f}"
        print(f"{sentence}: {len(result.motion) / 60:.1f} s{score}")
        if result.warning:
            print(f"pallas: {result.warning}")
    return 0


def _adapted(args: argparse.Namespace, sentence: str, robot: RobotDescription) -> float:
    """Return the duration in s in which the arm can follow."""

    def attempt(seconds: float) -> tuple[float, float]:
        motion = _motion(_ask(args, sentence, seconds, play=False))
        return seconds, seconds * needed_stretch(motion, robot)

    model = args.model or default_model(Request(sentence, args.seconds))
    return settle(attempt, float(args.seconds), limits(model).seconds[1])[0]


def _ask(args: argparse.Namespace, sentence: str, seconds: float, play: bool) -> Any:
    from pallas.action import GenerateMotion

    from pallas_ros.ros.asking import act

    with tqdm(total=1.0, bar_format="{desc:22s}|{bar}|", leave=False, disable=None) as bar:

        def show(feedback: GenerateMotion.Feedback) -> None:
            bar.set_description_str(feedback.stage, refresh=False)
            bar.update(float(feedback.fraction) - bar.n)

        return act(
            GenerateMotion,
            ACTION_GENERATE,
            show,
            text=sentence,
            duration=seconds,
            seed=args.seed,
            candidates=args.candidates,
            model=args.model,
            play=play,
        )


def _motion(result: Any) -> Motion:
    from pallas_ros.messages.decode import body_from_msg

    return motion_of([body_from_msg(message) for message in result.motion])
