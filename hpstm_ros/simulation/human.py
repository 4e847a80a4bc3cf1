"""A simulated person (MuJoCo) who tracks a motion under gravity and contact; yields joint torques
and ground reaction.

The body has the lengths, masses and inertias of `hpstm_ros.dynamics.human`; joints to segments
without mass (spine2, neck, collars, toes) are stiff. Torques come from a weak PD controller and,
120 times a second, from the rigid-body reference (`RigidBody.solve`) for the acceleration that
returns the simulated body to the motion. The part that no contact can provide is applied to the
pelvis as a bounded external force and recorded as the residual.
"""

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from hpstm_ros.dynamics.anthropometry import GRAVITY, SIDES
from hpstm_ros.dynamics.contacts import ContactSettings
from hpstm_ros.dynamics.human import Human, state
from hpstm_ros.dynamics.offline import find_floor, placed_joints, smooth, smoothed
from hpstm_ros.dynamics.rigid_body import RigidBody
from pallas_ros.body import kinematics, rotations
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS

F64 = NDArray[np.float64]

SUBSTEPS = 10
"""Physics steps per frame: 600 Hz at 60 frames per second."""
_ROOT = 6
_SPHERE_M = 0.01
"""Radius of a contact point; its lowest point is on the sole."""
_SOFT = (0.04, 1.0)
"""Time constant in s and damping ratio of a contact point: a sole that yields by 1 to 2 cm."""
_STIFFNESS = {
    "spine1": 1600.0, "spine3": 1600.0, "head": 160.0,
    "hip": 800.0, "knee": 800.0, "ankle": 640.0, "shoulder": 640.0, "elbow": 480.0, "wrist": 50.0,
}  # fmt: skip
"""Joint stiffness in Nm/rad: that of DeepMimic's humanoid (Peng et al. 2018, 45 kg) times 1.6 for
75 kg.
"""
_SOFTER = 0.3
"""Fraction of this stiffness in use, since inverse dynamics do most of the work."""
_DAMPING_S = 0.05
"""Damping in Nm s/rad, relative to the stiffness."""
_GIVE_M = 0.01
_MOST_GAP_M = 0.06
_GAP_HZ = 3.0
"""Cutoff of the low-pass filter of the vertical shift that puts the soles on the ground."""
_CONTROL_STEPS = 5
"""Physics steps per inverse-dynamics solution."""
_ROOT_BACK = (60.0, 16.0)
_JOINT_BACK = (100.0, 20.0)
"""Feedback gains in 1/s^2 and 1/s of the pelvis and the joints: 1.2 and 1.6 Hz, critically damped.
"""
_MOST_PULL = 0.3
_MOST_TURN = 1.0
"""Bounds of the external force at the pelvis: fraction of body weight, and Nm/kg."""
_LOST_M = 0.3
"""Distance of the pelvis from the motion beyond which the person has fallen and is reset."""
_SETTLE_S = 0.4
"""Time after a reset during which forces are not used."""


@dataclass(frozen=True, eq=False)
class Simulated:
    """Result at the motion's rate; world axes, the ground at zero height.

    Attributes:
        motion: of the simulated body, which deviates from the tracked one.
        moment: (T, 22, 3) Nm, net moment on each distal segment; at the pelvis that of the external
            force; NaN for stiff joints.
        ground_reaction: (T, 2, 6) left and right: force N, centre of pressure m (NaN without
            force).
        residual: (T, 6) force N and moment Nm of the external force at the pelvis.
        settled: (T,) False after a start and before a fall.
        away: (T,) m, mean distance of the joints from the tracked motion.
    """

    motion: Motion
    moment: F64
    ground_reaction: F64
    residual: F64
    settled: NDArray[np.bool_]
    away: F64


class SimulatedHuman:
    """A person in MuJoCo.

    Args:
        human: the person's body; carried loads are not simulated.
        fps: frames per second of the motions.

    Attributes:
        model: the body in MuJoCo.
        joints: (16,) indices of the body's joints in MuJoCo's order, the pelvis first.
    """

    def __init__(self, human: Human, fps: float) -> None:
        self.human = human
        self.fps = fps
        self.model = _build(human, 1.0 / (fps * SUBSTEPS))
        self._data = mujoco.MjData(self.model)
        names = [self.model.joint(number).name for number in range(self.model.njnt)]
        self.joints = np.array([JOINT_INDEX[name] for name in names])  # depth first in MuJoCo
        kind = [JOINTS[j].split("_")[-1] for j in self.joints[1:]]
        self._stiffness = _SOFTER * np.array([_STIFFNESS[name] for name in kind])[:, None]
        self._damping = self._stiffness * _DAMPING_S
        self.model.dof_damping[_ROOT:] = np.repeat(self._damping[:, 0], 3)
        geoms = [self.model.geom(g).name for g in range(self.model.ngeom)]
        self._body = RigidBody(human)
        self._soles: F64 | None = None
        self._applied_force = np.zeros(self.model.nv)
        self._side = np.array([SIDES.index(n.split("_")[0]) if n != "floor" else -1 for n in geoms])

    def follow(self, motion: Motion) -> Simulated:
        """Track a motion, starting in its first pose.

        Args:
            motion: in the world, z up, at the rate of ``fps``.
        """
        p, q, _ = smoothed(motion)
        q = self._stiff(q)
        p = self._grounded(p, q)
        plan = _Plan(p, np.asarray(kinematics.to_local(q), np.float64)[:, self.joints], self.fps)
        log = _Log.empty((len(p) - 1) * SUBSTEPS + 1, self.model)
        self._place(plan, 0)
        started = 0
        settled = np.zeros(len(log.qpos), np.bool_)
        wait = round(_SETTLE_S * self.fps * SUBSTEPS)
        for step in range(len(log.qpos)):
            self._step(plan, log, step)
            if np.linalg.norm(self._data.qpos[:3] - plan.p[step]) > _LOST_M:
                settled[max(step - 2 * wait, 0) : step + 1] = False
                self._place(plan, step)
                started = step
            settled[step] = step - started >= wait
        return self._result(plan, log, settled)

    def _stiff(self, q_world_joint: F64) -> F64:
        """Return orientations (T, 22, 4) with the joints that have no segment held stiff."""
        q = q_world_joint.copy()
        for joint in range(1, len(JOINTS)):
            if joint not in self.joints:
                q[:, joint] = q[:, PARENTS[joint]]
        return q

    def _grounded(self, p: F64, q: F64) -> F64:
        """Return the pelvis (T, 3) m, slowly shifted to put the lowest point of the soles on the
        ground if it is near.
        """
        R = np.asarray(rotations.to_matrix(q), np.float64)
        soles = self._body.soles(placed_joints(self.human.offsets, R, p), R)
        heights = soles[..., 2].reshape(len(p), -1)
        lowest = heights.min(axis=1) - find_floor(heights)
        stands = np.flatnonzero(lowest < _MOST_GAP_M)
        gap = np.interp(np.arange(len(p)), stands, lowest[stands]) + find_floor(heights) + _GIVE_M
        out = p.copy()
        out[:, 2] -= smooth(gap, self.fps, _GAP_HZ)
        return out

    def _place(self, plan: "_Plan", step: int) -> None:
        """Set the body to the state of the plan, including velocities."""
        data = self._data
        mujoco.mj_resetData(self.model, data)
        data.qpos[:3] = plan.p[step]
        data.qpos[3:] = plan.q[step][:, [3, 0, 1, 2]].reshape(-1)
        data.qvel[:3] = plan.v[step]
        data.qvel[3:] = plan.w[step].reshape(-1)
        self._soles = None

    def _ask(self, plan: "_Plan", step: int, q: F64, away: F64) -> None:
        """Solve the inverse dynamics for the acceleration that returns the simulated body to the
        plan.
        """
        data = self._data
        v = data.qvel[:3]
        w = data.qvel[3:].reshape(-1, 3)
        spring, damper = _ROOT_BACK
        a = plan.a[step] + spring * (plan.p[step] - data.qpos[:3]) + damper * (plan.v[step] - v)
        spring, damper = _JOINT_BACK
        turn = plan.turn[step] + spring * away + damper * (plan.w[step] - w)
        every = np.zeros((3, len(JOINTS), 4))
        every[0, :, 3] = 1.0
        every[0, self.joints] = q
        every[1, self.joints, :3] = w
        every[2, self.joints, :3] = turn
        now = state(data.qpos[:3], every[0], v, a, every[1, :, :3], every[2, :, :3])
        R, placed = self.human.placed(now.q)
        soles = self._body.soles(placed, R)
        before = soles if self._soles is None else self._soles
        speed = np.linalg.norm(soles - before, axis=-1) * self.fps * SUBSTEPS / _CONTROL_STEPS
        self._soles = soles
        found = self._body.solve(now, 0.0, speed)
        own = np.einsum("pji,pj->pi", R, found.moment)[self.joints]
        weight = self.human.weight
        force = _bounded(found.residual[:3], _MOST_PULL * weight)
        turned = _bounded(own[0], _MOST_TURN * self.human.mass)
        self._applied_force = np.concatenate((force, turned, own[1:].reshape(-1)))

    def _step(self, plan: "_Plan", log: "_Log", step: int) -> None:
        data = self._data
        q = data.qpos[3:].reshape(-1, 4)[:, [1, 2, 3, 0]]
        away = _short_rotvec(q, plan.q[step])
        if step % _CONTROL_STEPS == 0 or self._soles is None:
            self._ask(plan, step, q, away)
        applied = data.qfrc_applied
        applied[:] = self._applied_force
        driven = self._stiffness * away[1:] + self._damping * plan.w[step][1:]
        applied[_ROOT:] += driven.reshape(-1)
        log.qpos[step] = data.qpos
        log.applied[step] = applied
        mujoco.mj_step(self.model, data)
        # damping acts implicitly: on the velocity after the step
        log.applied[step] -= self.model.dof_damping * data.qvel
        log.contact[step] = self._contacts()

    def _contacts(self) -> F64:
        """Return force N and moment about the world origin Nm on each foot (2, 6)."""
        data = self._data
        out = np.zeros((2, 6))
        if not data.ncon:
            return out
        contact = data.contact
        rows = np.asarray(contact.efc_address)
        held = rows >= 0
        rows = rows[held]
        force = data.efc_force[rows[:, None] + np.arange(3)]
        axes = np.asarray(contact.frame)[held].reshape(-1, 3, 3)
        world = np.einsum("nij,ni->nj", axes, force)
        arm = np.cross(np.asarray(contact.pos)[held], world)
        side = self._side[np.asarray(contact.geom)[held].max(axis=1)]
        for foot in (0, 1):
            mine = side == foot
            out[foot, :3] = world[mine].sum(axis=0)
            out[foot, 3:] = arm[mine].sum(axis=0)
        return out

    def _world(self, qpos: F64) -> F64:
        """Convert MuJoCo's coordinates to orientations (N, 22, 4) xyzw, joint to world."""
        return self._whole(qpos[:, 3:].reshape(len(qpos), -1, 4)[..., [1, 2, 3, 0]])

    def _whole(self, q_parent_joint: F64) -> F64:
        local = np.zeros((len(q_parent_joint), len(JOINTS), 4))
        local[..., 3] = 1.0
        local[:, self.joints] = q_parent_joint
        return np.asarray(kinematics.to_global(local), np.float64)

    def _result(self, plan: "_Plan", log: "_Log", settled: NDArray[np.bool_]) -> Simulated:
        """Return the result, smoothed like motions, at their rate."""
        rate = self.fps * SUBSTEPS
        q = self._world(log.qpos)
        R = np.asarray(rotations.to_matrix(q[:, self.joints]), np.float64)
        local = log.applied[:, 3:].reshape(len(q), -1, 3)
        moment = np.full((len(plan.p[::SUBSTEPS]), len(JOINTS), 3), np.nan)
        moment[:, self.joints] = smooth(np.einsum("tpij,tpj->tpi", R, local), rate)[::SUBSTEPS]
        pull = smooth(log.applied[:, :3], rate)[::SUBSTEPS]
        contact = smooth(log.contact, rate)[::SUBSTEPS]
        motion = _as_motion(self.human, log.qpos[::SUBSTEPS, :3], q[::SUBSTEPS], self.fps)
        goal = self._whole(plan.q[::SUBSTEPS])
        wanted = _as_motion(self.human, plan.p[::SUBSTEPS], goal, self.fps)
        away = np.linalg.norm(motion.positions - wanted.positions, axis=-1).mean(axis=1)
        return Simulated(
            motion=motion,
            moment=moment,
            ground_reaction=_at_pressure(contact, self.human.mass * GRAVITY),
            residual=np.concatenate((pull, moment[:, 0]), axis=1),
            settled=settled[::SUBSTEPS],
            away=away,
        )


@dataclass(eq=False)
class _Plan:
    """The motion to track, at the rate of the physics.

    Pelvis p, v, a (N, 3) world; q (N, 16, 4) xyzw relative to the parents, w (N, 16, 3) rad/s and
    turn (N, 16, 3) rad/s^2 in the joints' frames, in MuJoCo's order of joints.
    """

    p: F64
    v: F64
    q: F64
    w: F64
    a: F64
    turn: F64

    def __init__(self, p: F64, q_parent_joint: F64, fps: float) -> None:
        count = len(p)
        local = np.asarray(rotations.continuous(q_parent_joint), np.float64)
        at = np.arange((count - 1) * SUBSTEPS + 1) / SUBSTEPS

        def finer(values: F64) -> F64:
            flat = values.reshape(count, -1)
            columns = [np.interp(at, np.arange(count), column) for column in flat.T]
            return np.stack(columns, axis=1).reshape(len(at), *values.shape[1:])

        step = rotations.multiply(rotations.inverse(local[:-1]), local[1:])
        turn = np.asarray(rotations.to_rotvec(step), np.float64) * fps
        between = np.concatenate((turn[:1], (turn[1:] + turn[:-1]) / 2, turn[-1:]))
        self.p = finer(p)
        self.v = finer(np.gradient(p, 1 / fps, axis=0))
        self.q = np.asarray(rotations.normalise(finer(local)), np.float64)
        self.w = finer(between)
        self.a = finer(np.gradient(np.gradient(p, 1 / fps, axis=0), 1 / fps, axis=0))
        self.turn = finer(np.gradient(between, 1 / fps, axis=0))


@dataclass(eq=False)
class _Log:
    """Values of each step: coordinates, joint forces including damping, forces on the feet."""

    qpos: F64
    applied: F64
    contact: F64

    @classmethod
    def empty(cls, steps: int, model: mujoco.MjModel) -> "_Log":
        return cls(
            np.zeros((steps, model.nq)), np.zeros((steps, model.nv)), np.zeros((steps, 2, 6))
        )


def _bounded(vector: F64, most: float) -> F64:
    """Limit the length of a vector to ``most``."""
    length = float(np.linalg.norm(vector))
    return vector * (most / length) if length > most else vector


def _short_rotvec(q: F64, goal: F64) -> F64:
    """Return rotation vectors (n, 3) from q to goal (n, 4) xyzw in q's frames, for small angles."""
    away = np.asarray(rotations.multiply(rotations.inverse(q), goal), np.float64)
    return np.asarray(2 * away[:, :3] * np.sign(away[:, 3:] + 1e-12))


def _as_motion(human: Human, p: F64, q_world_joint: F64, fps: float) -> Motion:
    positions = np.empty((len(p), len(JOINTS), 3))
    positions[:, 0] = p
    for joint in range(1, len(JOINTS)):
        parent = PARENTS[joint]
        bone = rotations.rotate(q_world_joint[:, parent], human.offsets[joint])
        positions[:, joint] = positions[:, parent] + bone
    return Motion(fps, positions, q_world_joint)


def _at_pressure(contact: F64, weight: float) -> F64:
    """Convert forces and moments about the origin (T, 2, 6) to forces and centres of pressure."""
    out = contact.copy()
    upward = contact[..., 2]
    held = upward > _LEAST_SHARE * weight
    out[~held] = 0.0
    out[..., 3:] = np.nan
    out[held, 3] = -contact[held, 4] / upward[held]
    out[held, 4] = contact[held, 3] / upward[held]
    out[held, 5] = 0.0
    return out


_LEAST_SHARE = 0.02
"""Fraction of body weight; smaller forces are ringing of the filter."""


def _build(human: Human, timestep: float) -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    spec.option.timestep = timestep
    spec.option.gravity = [0.0, 0.0, -GRAVITY]
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    friction = [ContactSettings.friction, 0.0, 0.0]
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[50, 50, 1], condim=3,
        friction=friction, contype=2, conaffinity=1, solref=_SOFT,
    )  # fmt: skip
    segments = {segment.joint: segment for segment in human.segments}
    bodies: list[mujoco.MjsBody] = []
    for joint, name in enumerate(JOINTS):
        parent = bodies[PARENTS[joint]] if joint else spec.worldbody
        body = parent.add_body(name=name, pos=human.offsets[joint])
        body.explicitinertial = True
        segment = segments.get(joint)
        if segment:
            body.mass = segment.mass
            body.ipos = segment.centre
            body.inertia = np.diag(segment.inertia)
        if joint == 0:
            body.add_freejoint(name=name)
        elif segment:
            body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_BALL)
        bodies.append(body)
    for foot, side in zip(human.feet, SIDES):
        for number, corner in enumerate(foot.corners()):
            bodies[JOINT_INDEX[f"{side}_ankle"]].add_geom(
                name=f"{side}_{number}", type=mujoco.mjtGeom.mjGEOM_SPHERE,
                size=[_SPHERE_M, 0, 0], pos=corner + np.array([0.0, 0.0, _SPHERE_M]), condim=3,
                friction=friction, contype=1, conaffinity=2, solref=_SOFT,
            )  # fmt: skip
    return spec.compile()
