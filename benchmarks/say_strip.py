"""Sentences and the resulting arm motion: generated and retargeted, as a picture or a film.

    python benchmarks/say_strip.py --out docs/images/say_panda.png
    python benchmarks/say_strip.py --robots panda g1 --out docs/images/say.gif

A picture has four instants of each sentence and the first robot. A film (.gif or .mp4) shows all
robots next to each other, one sentence after the other.

The tip speed is not limited, so that arm and person are at the same instant of the motion.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.bench.rows import NO_TIP_LIMIT
from hpstm_ros.generation.producer import Producer
from hpstm_ros.generation.request import Request
from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.teleoperation.joint_motion import JointMotion
from hpstm_ros.teleoperation.recorded import retarget_motion
from pallas_ros.body.motion import Motion
from pallas_ros.view.figure import Figure, Person, write_clip, write_png
from pallas_ros.view.raster import Camera
from pallas_ros.view.robot import RobotShape

U8 = NDArray[np.uint8]

SENTENCES = (
    "wave with the right hand",
    "raise both hands",
    "reach forward with the right hand",
    "a person walks forward",
    "direct traffic with the arms",
    "wash a window with the right hand",
)
SECONDS = 4.0
MOMENTS = (0.8, 1.6, 2.4, 3.2)
"""s, the instants of a picture."""
FILM_FPS = 6.0


@dataclass
class Scene:
    """A person and an arm that make the same motion."""

    figure: Figure
    motion: Motion
    made: JointMotion

    def picture(self, moment: float, caption: str = "") -> U8:
        """The instant ``moment`` in s."""
        frame = min(round(moment * self.motion.fps), len(self.motion) - 1)
        joints = self.made.q[min(np.searchsorted(self.made.t, moment), len(self.made.q) - 1)]
        path = self.motion.positions[frame, 0] * [1, 1, 0]
        person = Person(self.motion.positions[frame] - path, self.motion.rotations[frame])
        named = dict(zip(self.made.joint_names, joints.tolist(), strict=True))
        return self.figure.draw([person], named, caption=caption)


def scene(producer: Producer, text: str, name: str, model: str, seed: int) -> Scene:
    """The motion of a sentence on a robot."""
    robot = load_robot(name)
    motion = producer.produce(Request(text, SECONDS, seed), model).candidates[0].motion
    figure = Figure(
        robot=RobotShape.load(robot.path),
        size=(280, 240),
        camera=Camera(target=(0.1, -0.6, 1.08)),
    )
    return Scene(
        figure, motion, retarget_motion(motion, robot, tip_speed=NO_TIP_LIMIT, progress=False)
    )


def film(producer: Producer, robots: list[str], model: str, seed: int) -> Iterator[U8]:
    """The frames of all sentences."""
    for text in SENTENCES:
        scenes = [scene(producer, text, name, model, seed) for name in robots]
        for moment in np.arange(0.0, SECONDS, 1 / FILM_FPS):
            captions = [text] + [""] * (len(scenes) - 1)
            pictures = [s.picture(moment, c) for s, c in zip(scenes, captions, strict=True)]
            yield np.concatenate(pictures, axis=1)


def strip(producer: Producer, text: str, name: str, model: str, seed: int) -> U8:
    """Four pictures next to each other."""
    one = scene(producer, text, name, model, seed)
    return np.concatenate(
        [one.picture(at, text if at == MOMENTS[0] else "") for at in MOMENTS], axis=1
    )


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help=".png, .gif or .mp4")
    parser.add_argument("--robots", nargs="+", default=["panda"], help="the arms (default panda)")
    parser.add_argument("--model", default="", help="the generator (default: that of the package)")
    parser.add_argument("--seed", type=int, default=0, help="of the motions")
    args = parser.parse_args()
    producer = Producer()
    if args.out.suffix != ".png":
        write_clip(args.out, film(producer, args.robots, args.model, args.seed), FILM_FPS)
        return
    rows = [strip(producer, text, args.robots[0], args.model, args.seed) for text in SENTENCES]
    write_png(args.out, np.concatenate(rows))


if __name__ == "__main__":
    main()
