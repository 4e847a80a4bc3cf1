"""Forces in the web viewer, without a browser: positions and visibility of the drawn elements."""

from types import SimpleNamespace as Record

import numpy as np
import pytest

pytest.importorskip("viser", reason="needs the extra [view]")

from pallas_ros.body.skeleton import Skeleton
from pallas_ros.imu.motions import demo_motion
from pallas_ros.view.forces import Forces, forces
from pallas_ros.view.moments import Moment
from pallas_ros.view.viewer import Viewer


def wrench(frame: str, upward: float) -> Record:
    force = Record(x=10.0, y=0.0, z=upward)
    return Record(header=Record(frame_id=frame), wrench=Record(force=force))


def place(frame: str, x: float) -> Record:
    translation = Record(x=x, y=0.2, z=0.0)
    return Record(child_frame_id=frame, transform=Record(translation=translation))


def test_forces_come_from_messages_with_the_newest_place_of_each() -> None:
    efforts = Record(effort=[3.0, 4.0, 0.0] * 21)
    newest_first = [place("other", 9.0), place("left_pressure", 1.0), place("left_pressure", 2.0)]
    wrenches = [wrench("left_pressure", 500.0), wrench("odom", 0.0)]
    found = forces(efforts, wrenches, newest_first)
    assert found is not None
    np.testing.assert_allclose(found.efforts, 5.0)
    np.testing.assert_allclose(found.ground[0], [10.0, 0.0, 500.0, 1.0, 0.2, 0.0])
    assert np.isnan(found.ground[1]).all()


def test_without_messages_there_is_nothing_to_draw() -> None:
    assert forces(None, [None, None], []) is None
    assert forces(Record(effort=[1.0, 2.0]), [None, None], []) is None


def test_the_viewer_draws_arrows_and_coloured_joints_and_hides_them_again() -> None:
    viewer = Viewer("127.0.0.1", 0, Skeleton.from_height())
    try:
        motion = demo_motion(1.0)
        body = np.concatenate((motion.positions[0], motion.rotations[0]), axis=1)
        efforts = np.zeros(21)
        efforts[3] = 200.0  # left knee
        efforts[5] = np.nan
        ground = np.full((2, 6), np.nan)
        ground[0] = (0.0, 0.0, 700.0, 0.1, 0.1, 0.0)
        viewer.show(Moment(0.0, body, forces=Forces(efforts, ground)))
        left, right = viewer._forces.arrows
        assert left.visible
        assert not right.visible
        start, tip = np.asarray(left.points)[0]
        np.testing.assert_allclose(tip - start, [0.0, 0.0, 0.7], atol=1e-6)
        knee = viewer._forces.balls[3]
        hip = viewer._forces.balls[0]
        assert knee.color[0] > 200 > hip.color[0]
        assert not viewer._forces.balls[5].visible
        assert all(0 < solid.opacity < 1 for solid in viewer._solids["/body"])
        viewer.show(Moment(0.1, body))
        assert not left.visible
        assert not knee.visible
        assert all(solid.opacity is None for solid in viewer._solids["/body"])
    finally:
        viewer.close()
