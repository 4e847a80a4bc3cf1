"""Draw the pictures of docs/guide/sensors.md with the project's human figure: `python
tools/sensor_figures.py [FOLDER]`.
"""

import sys
from pathlib import Path

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, SITES
from pallas_ros.body.sites import SITE
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.imu.motions import calibration_motion
from pallas_ros.imu.virtual import bone_orientation
from pallas_ros.view import human
from pallas_ros.view.figure import Figure, Person, write_png
from pallas_ros.view.raster import Camera, Canvas, Colour

SENSOR: Colour = (40, 44, 52)
AXES: tuple[tuple[str, Colour], ...] = (
    ("x", (205, 50, 45)),
    ("y", (40, 145, 60)),
    ("z", (45, 85, 205)),
)
STEPS = (
    ("1  N-pose", 2.0),
    ("2  T-pose", 7.0),
    ("4  elbows", 12.75),
    ("5  bow", 18.45),
    ("6  turn", 25.5),
)
"""Name of a step and the second of the calibration motion that shows it."""


def sensors(canvas: Canvas, motion: Motion, frame: int, label: bool) -> None:
    """Draw the four sensors as dark boxes with their axes."""
    for site in SITES:
        joint = SITE[site].joint
        lever = SITE[site].place
        q = bone_orientation(motion, site)[frame]
        skin = np.array(lever) * (1.25 if site in ("pelvis", "neck") else 1.4)
        centre = motion.positions[frame, JOINT_INDEX[joint]] + rotations.rotate(
            q, np.array([skin[0], lever[1], skin[2]])
        )
        half = rotations.rotate(q, np.array([0.018, 0.0, 0.0]))
        canvas.capsules(
            (centre - half)[None],
            (centre + half)[None],
            np.array([0.018]),
            np.array([SENSOR], dtype=float),
            shadow=False,
        )
        for (name, colour), axis in zip(AXES, np.eye(3)):
            tip = centre + rotations.rotate(q, 0.16 * axis)
            canvas.polyline(np.array([centre, tip]), colour, 3.0)
            pixel, _ = canvas.camera.project(centre + rotations.rotate(q, 0.20 * axis), canvas.size)
            canvas.text((float(pixel[0]), float(pixel[1])), name, 14, colour, "mm")
        if label:
            pixel, _ = canvas.camera.project(centre, canvas.size)
            right, down = (34, -24) if site in ("pelvis", "neck") else (-30, 30)
            canvas.text(
                (float(pixel[0]) + right * 2.4, float(pixel[1]) + down), site, 15, anchor="la"
            )


def worn(path: Path) -> None:
    """Draw the T-pose from behind, with the worn sensors."""
    motion = calibration_motion(False)
    frame = round(7.0 * 60)
    canvas = Canvas((1000, 620), Camera(eye=(-2.9, 0.7, 1.9), target=(0.0, 0.0, 1.02), focal=1.55))
    canvas.ground()
    capsules = human.figure(Skeleton.from_height())
    colours = np.array([human.COLOURS[capsule.part] for capsule in capsules], dtype=float)
    canvas.capsules(
        *human.place(capsules, motion.positions[frame], motion.rotations[frame]), colours
    )
    sensors(canvas, motion, frame, label=True)
    canvas.text(
        (14, 10), "T-pose from behind: on every sensor x points forward, y to the left, z up", 16
    )
    write_png(path, canvas.finish())


def steps(path: Path) -> None:
    """Draw the poses and movements of the guided calibration side by side."""
    motion = calibration_motion(True)
    people = []
    for i, (name, second) in enumerate(STEPS):
        frame = round(second * 60)
        across = (i - 2) * 1.15 + 0.3 * ((i > 1) - (i < 1))
        at = -motion.positions[frame, 0] * [1, 1, 0] + [0.0, across, 0.0]
        people.append(
            Person(motion.positions[frame], motion.rotations[frame], tuple(at.tolist()), label=name)
        )
    figure = Figure(
        size=(1200, 400), camera=Camera(eye=(6.4, 0.3, 1.9), target=(0.0, 0.0, 0.85), focal=2.3)
    )
    write_png(path, figure.draw(people))


def main() -> None:
    """Write both pictures."""
    folder = (
        Path(sys.argv[1])
        if len(sys.argv) > 1
        else Path(__file__).resolve().parents[1] / "docs" / "images"
    )
    folder.mkdir(parents=True, exist_ok=True)
    worn(folder / "sensors_worn.png")
    steps(folder / "sensors_calibration.png")


if __name__ == "__main__":
    main()
