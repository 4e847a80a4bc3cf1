"""The simulated person (MuJoCo): the same body as the reference, and forces that explain its
motion.
"""

import numpy as np
import pytest
import standing_bodies as bodies

pytest.importorskip("mujoco", reason="needs the extra [sim]")
pytest.importorskip("pinocchio", reason="needs the extra [robot]")

import mujoco

from hpstm_ros.dynamics.anthropometry import SIDES
from hpstm_ros.dynamics.contacts import cross
from hpstm_ros.dynamics.human import Human, state, states
from hpstm_ros.dynamics.offline import smoothed
from hpstm_ros.simulation.human import SimulatedHuman
from pallas_ros.body.names import JOINT_INDEX, JOINTS

MASS = 75.0


def test_mujoco_has_the_body_of_the_reference() -> None:
    human = Human.of_skeleton(bodies.SKELETON, MASS)
    simulated = SimulatedHuman(human, bodies.FPS)
    model = simulated.model
    joints = simulated.joints
    data = mujoco.MjData(model)
    chance = np.random.default_rng(0)
    q = chance.normal(size=(len(joints), 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    data.qpos[:] = [0.0, 0.0, 5.0, *q[:, [3, 0, 1, 2]].reshape(-1)]
    data.qvel[:] = chance.normal(size=model.nv)
    data.qacc[:] = chance.normal(size=model.nv)
    model.dof_damping[:] = 0.0
    v = data.qvel.copy()
    a = data.qacc.copy()
    mujoco.mj_inverse(model, data)
    every = np.zeros((3, len(JOINTS), 4))
    every[0, :, 3] = 1.0
    every[0, joints] = q
    every[1, joints, :3] = v[3:].reshape(-1, 3)
    every[2, joints, :3] = a[3:].reshape(-1, 3)
    demand = human.demand(
        state(data.qpos[:3], every[0], v[:3], a[:3], every[1, :, :3], every[2, :, :3])
    )
    own = np.einsum("pji,pj->pi", demand.orientations, demand.moment)[joints]
    assert data.qfrc_inverse[:3] == pytest.approx(demand.force, abs=1e-8)
    assert data.qfrc_inverse[3:] == pytest.approx(own.reshape(-1), abs=1e-8)


def test_simulated_forces_explain_the_simulated_motion() -> None:
    """Bowing on two feet: torques and ground reaction against inverse dynamics of the result."""
    t = np.arange(90) / bodies.FPS
    q = np.stack([bodies.bowed(a) for a in 0.4 - 0.4 * np.cos(np.pi * t)])
    pelvis = np.tile(bodies.SKELETON.rest_positions[0], (90, 1))
    human = Human.of_skeleton(bodies.SKELETON, MASS)
    found = SimulatedHuman(human, bodies.FPS).follow(bodies.moving(q, pelvis))
    assert found.settled[30:80].all()
    assert found.away[30:80].max() < 0.03
    p, orientations, _ = smoothed(found.motion)
    moving = states(orientations, p, bodies.FPS)
    known = [k for k in range(1, len(JOINTS)) if np.isfinite(found.moment[40, k, 0])]
    assert len(known) == 15
    for index in range(35, 75, 5):
        demand = human.demand(moving[index])
        ground = found.ground_reaction[index]
        away = demand.force - ground[:, :3].sum(axis=0) - found.residual[index, :3]
        assert np.linalg.norm(away) < 0.01 * human.weight
        moment = demand.moment.copy()
        for foot, side in enumerate(SIDES):
            for joint in ("hip", "knee", "ankle"):
                k = JOINT_INDEX[f"{side}_{joint}"]
                arm = ground[foot, 3:] - demand.positions[k]
                moment[k] -= cross(arm, ground[foot, :3])
        assert moment[known] == pytest.approx(found.moment[index, known], abs=4.0)
    assert np.linalg.norm(found.residual[35:75, :3], axis=1).max() < 0.05 * human.weight
