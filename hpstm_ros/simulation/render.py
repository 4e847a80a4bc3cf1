"""Renders videos of a robot arm off-screen from joint positions, after the run to avoid load on the
live graph.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hpstm_ros.retarget.robots import RobotDescription
from pallas_ros.body.errors import PallasError
from pallas_ros.view.figure import write_clip

F64 = NDArray[np.float64]

os.environ.setdefault("MUJOCO_GL", "egl")  # before mujoco is imported: no display is needed


class ArmRenderer:
    """Renders images of a robot; the first takes seconds to load the meshes."""

    def __init__(self, robot: RobotDescription, width: int = 640, height: int = 480) -> None:
        """Raises a `PallasError` if rendering is not available (no EGL)."""
        import mujoco

        from hpstm_ros.simulation import mjcf

        self._mujoco = mujoco
        self._mjcf = mjcf
        self._robot = robot
        self._model = mjcf.build(robot, meshes=True)
        self._data = mujoco.MjData(self._model)
        try:
            self._renderer = mujoco.Renderer(self._model, height, width)
        except Exception as error:
            raise PallasError(
                f"no off-screen rendering here ({error}): install EGL (apt install libegl1) or set"
                " MUJOCO_GL=osmesa"
            ) from None
        self._camera = mujoco.MjvCamera()
        low = np.maximum(robot.box_min, -1.5)
        high = np.minimum(robot.box_max, 1.5)
        self._camera.lookat[:] = (low + high) / 2
        self._camera.distance = 1.25 * float(np.linalg.norm(high - low))
        self._camera.azimuth = 140
        self._camera.elevation = -20

    def picture(self, q: F64) -> NDArray[np.uint8]:
        """The image (height, width, 3) of the arm at ``q`` (n,) rad."""
        self._data.qpos[:] = self._mjcf.configuration(self._robot, q)
        self._mujoco.mj_forward(self._model, self._data)
        self._renderer.update_scene(self._data, self._camera)
        return np.array(self._renderer.render(), dtype=np.uint8)

    def close(self) -> None:
        """Free the rendering context."""
        self._renderer.close()


def render(
    robot: RobotDescription,
    t: F64,
    q: F64,
    path: Path,
    fps: float = 30.0,
    width: int = 640,
    height: int = 480,
) -> None:
    """Write a video (.mp4 or .gif) of joint positions ``q`` (N, n) rad at times ``t`` (N,) s.

    Raises:
        PallasError: rendering is not available, or the video cannot be written.
    """
    renderer = ArmRenderer(robot, width, height)
    at = np.arange(t[0], t[-1], 1 / fps)
    joints = np.column_stack([np.interp(at, t, q[:, joint]) for joint in range(q.shape[1])])
    try:
        pictures = (  # one in memory at a time
            renderer.picture(posture)
            for posture in tqdm(joints, desc="film", unit="picture", leave=False, disable=None)
        )
        write_clip(path, pictures, fps)
    except OSError as error:
        raise PallasError(f"{path}: the video cannot be written: {error}") from None
    finally:
        renderer.close()
