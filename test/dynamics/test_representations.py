"""Input representation of HDyS, its training windows, and its use on a motion file."""

from pathlib import Path

import numpy as np
import pytest
import standing_bodies as bodies

from hpstm_ros.dynamics import representations
from hpstm_ros.dynamics.human import Human
from hpstm_ros.dynamics.network import analyse_network
from hpstm_ros.dynamics.offline import measured_offsets
from hpstm_ros.dynamics.representations import View
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.imu.motions import demo_motion


def described(turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Return points and angles of a motion rotated about the vertical and translated."""
    motion = demo_motion(1.0)
    q_turn = rotations.about_z(np.float64(turn))
    p = np.asarray(rotations.rotate(q_turn, motion.positions)) + [3.0 * turn, -1.0, 0.0]
    q = np.asarray(rotations.multiply(q_turn, motion.rotations), np.float64)
    view = View.of(q[:, 0], p[:, 0], 0.0, motion.fps)
    return view.points(p), view.angles(q, p[:, 0])


def test_a_description_does_not_depend_on_place_and_heading() -> None:
    points, angles = described(0.0)
    again, angles_again = described(2.0)
    np.testing.assert_allclose(again, points, atol=1e-8)
    np.testing.assert_allclose(angles_again, angles, atol=1e-7)
    assert angles.shape[1] == representations.ANGLE_VALUES


def test_points_hold_position_velocity_and_acceleration() -> None:
    t = np.arange(20) / 60
    p = np.zeros((20, 1, 3))
    p[:, 0, 2] = 1.0 + 2.0 * t + 1.5 * t**2
    view = View.of(np.tile([0.0, 0.0, 0.0, 1.0], (20, 1)), p[:, 0], 0.25, 60.0)
    found = view.points(p)
    np.testing.assert_allclose(found[5, 0, 2], p[5, 0, 2] - 0.25)
    np.testing.assert_allclose(found[5, 0, 5], 2.0 + 3.0 * t[5])
    np.testing.assert_allclose(found[5, 0, 8], 3.0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_flexed_joints_have_the_musculoskeletal_models_signs(side: str) -> None:
    R = np.tile(np.eye(3), (1, 22, 1, 1))
    joints = {name: k for k, name in enumerate(representations.JOINTS)}
    forward = rotations.to_matrix(rotations.from_rotvec(np.array([0.0, -0.5, 0.0])))
    for name in ("hip", "knee", "ankle", "foot"):
        R[0, joints[f"{side}_{name}"]] = forward  # the thigh forward, the knee straight
    found = representations.coordinates_of(R)
    assert found[f"hip_flexion_{side[0]}"][0] == pytest.approx(0.5)
    assert found[f"knee_angle_{side[0]}"][0] == pytest.approx(0.0, abs=1e-9)
    R[0, joints[f"{side}_knee"]] = np.eye(3)  # the shank hangs: the knee is bent
    assert representations.coordinates_of(R)[f"knee_angle_{side[0]}"][0] == pytest.approx(0.5)


def test_windows_stay_inside_unbroken_frames() -> None:
    pytest.importorskip("torch", reason="needs the extra [train]")
    from hpstm_ros.train.dynamics.data import Domain

    good = np.ones(20, np.bool_)
    good[17] = False
    block = np.repeat(np.array([0, 1], np.int32), [8, 12])
    domain = Domain("", {}, {}, good, np.zeros(20, np.int32), block, ("",))
    assert domain.windows(4, 4).tolist() == [0, 4, 8, 12]
    assert domain.windows(4, 1).tolist() == [0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13]


def test_a_network_gives_the_same_kind_of_result_as_rigid_bodies(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra [train]")
    from hpstm_ros.model.hdys import Hdys, HdysSettings, HdysStep, Scale
    from hpstm_ros.train.dynamics.released import export

    torch.manual_seed(0)
    small = HdysSettings(latent=8, width=8, layers=1, window=3)
    path = export(HdysStep(Hdys(small), Scale(small)).eval(), tmp_path, {})
    motion = bodies.still(bodies.arms_down())
    human = Human(measured_offsets(motion), 75.0, 1.75)
    found = analyse_network(motion, human, path)
    assert found.moment.shape == (len(motion), 22, 3)
    assert np.isfinite(found.moment).all()
    total = found.residual[10, 2] + found.ground_reaction[10, :, 2].sum()
    assert total == pytest.approx(human.weight, rel=0.02)  # what is not explained is stated
    human.carry(5.0, "left")
    with pytest.raises(PallasError, match="carried loads"):
        analyse_network(motion, human, path)
