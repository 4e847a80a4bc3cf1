"""A picture of sentences and the resulting arm motion: generated, retargeted, four instants each.

    python benchmarks/say_strip.py --out docs/images/say_panda.png

The tip speed is not limited, so that arm and person are at the same instant of the motion.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.bench.rows import NO_TIP_LIMIT
from hpstm_ros.generation.producer import Producer
from hpstm_ros.generation.request import Request
from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.teleoperation.recorded import retarget_motion
from pallas_ros.view.figure import Figure, Person, write_png
from pallas_ros.view.raster import Camera
from pallas_ros.view.robot import RobotShape

SENTENCES = (
    "wave with the right hand",
    "raise both hands",
    "reach forward with the right hand",
    "a person walks forward",
    "direct traffic with the arms",
    "wash a window with the right hand",
)
MOMENTS = (0.8, 1.6, 2.4, 3.2)
"""s, of 4 s."""


def row(producer: Producer, text: str, name: str, model: str, seed: int) -> NDArray[np.uint8]:
    """Return four pictures side by side."""
    robot = load_robot(name)
    motion = producer.produce(Request(text, 4.0, seed), model).candidates[0].motion
    made = retarget_motion(motion, robot, tip_speed=NO_TIP_LIMIT, progress=False)
    figure = Figure(
        robot=RobotShape.load(robot.path),
        size=(300, 230),
        camera=Camera(target=(0.1, -0.6, 0.95)),
    )
    pictures = []
    for moment in MOMENTS:
        frame = round(moment * motion.fps)
        joints = made.q[np.searchsorted(made.t, moment)]
        path = motion.positions[frame, 0] * [1, 1, 0]
        person = Person(motion.positions[frame] - path, motion.rotations[frame])
        pictures.append(
            figure.draw(
                [person],
                dict(zip(robot.joint_names, joints.tolist(), strict=True)),
                caption=text if moment == MOMENTS[0] else "",
            )
        )
    return np.concatenate(pictures, axis=1)


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="picture (.png)")
    parser.add_argument("--robot", default="panda", help="the arm (default panda)")
    parser.add_argument("--model", default="flow", help="the generator (default flow)")
    parser.add_argument("--seed", type=int, default=0, help="of the motions")
    args = parser.parse_args()
    producer = Producer()
    rows = [row(producer, text, args.robot, args.model, args.seed) for text in SENTENCES]
    write_png(args.out, np.concatenate(rows))


if __name__ == "__main__":
    main()
