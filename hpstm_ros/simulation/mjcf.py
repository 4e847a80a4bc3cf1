"""Builds a robot's MuJoCo model from its Pinocchio model, so that retargeting, supervision and
simulation use the same arm.
"""

from typing import Any

import coal
import mujoco
import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.retarget.robots import RobotDescription
from hpstm_ros.safety.joints import JointMotion, joint_motion

F64 = NDArray[np.float64]

TIMESTEP_S = 0.001
_BANDWIDTH = 60.0  # rad/s, of the joint position controllers, as in a good industrial drive
_DAMPING_RATIO = 1.0
# reflected motor inertia: a fraction of the link's, plus that of a geared motor with the effort
_ARMATURE_SHARE = 0.1
_ARMATURE_PER_EFFORT = 0.001  # kg m^2 / Nm


def build(robot: RobotDescription, meshes: bool = False) -> mujoco.MjModel:
    """Build bodies, joints, inertias, limits and actuators of ``robot``; with ``meshes`` also
    visual shapes for rendering.

    The actuators are position servos with gravity compensation, as in real arms. Their gains are
    computed from the joints' inertia, and their effort limits come from the URDF.
    """
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.visual.global_.offwidth = 1280
    spec.visual.global_.offheight = 960
    # for software rendering without a GPU
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 1024
    model = robot.model
    bodies = {0: spec.worldbody}
    inertia = _joint_inertia(robot)
    armature = np.maximum(_ARMATURE_SHARE * inertia, _ARMATURE_PER_EFFORT * robot.effort)
    for joint in range(1, model.njoints):
        motion = joint_motion(model, joint)
        name = robot.joint_names[motion.column] if motion.own else str(model.names[joint])
        placement = model.jointPlacements[joint]
        index = motion.column
        body = bodies[int(model.parents[joint])].add_body(
            name=f"after_{name}", pos=placement.translation, quat=_wxyz(placement.rotation)
        )
        body.gravcomp = 1.0
        _set_inertia(body, model.inertias[joint])
        body.add_joint(
            name=name,
            type=mujoco.mjtJoint.mjJNT_SLIDE if motion.slides else mujoco.mjtJoint.mjJNT_HINGE,
            axis=_axis(model, joint, motion),
            limited=motion.own and not robot.continuous[index],
            range=[model.lowerPositionLimit[index], model.upperPositionLimit[index]],
            armature=armature[index],
            frictionloss=0.002 * robot.effort[index],
        )
        bodies[joint] = body
        if not motion.own:
            _couple(spec, name, robot.joint_names[index], motion)
            continue
        kp = (inertia[index] + armature[index]) * _BANDWIDTH**2
        kv = 2 * _DAMPING_RATIO * kp / _BANDWIDTH
        actuator = spec.add_actuator(name=name, trntype=mujoco.mjtTrn.mjTRN_JOINT, target=name)
        actuator.gainprm[0] = kp
        actuator.biastype = mujoco.mjtBias.mjBIAS_AFFINE
        actuator.biasprm[1] = -kp
        actuator.biasprm[2] = -kv
        if robot.effort[index] > 0:
            actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
            actuator.forcerange = [-robot.effort[index], robot.effort[index]]
    if meshes:
        _add_looks(spec, robot, bodies)
    return spec.compile()


def velocity_gain(model: mujoco.MjModel) -> F64:
    """(n,) s: lead of a servo command per rad/s that compensates its damping."""
    return np.array(model.actuator_biasprm[:, 2] / model.actuator_biasprm[:, 1])


def _joint_inertia(robot: RobotDescription) -> F64:
    """(n,) effective inertia of each joint in the ready posture, with a small lower bound."""
    data = robot.model.createData()
    M = pin.crba(robot.model, data, robot.q_ready)
    return np.maximum(np.diag(M), 1e-3)


def own_columns(robot: RobotDescription, model: mujoco.MjModel) -> NDArray[np.intp]:
    """(n,) indices of the robot's joints in MuJoCo's configuration; the others are mimic joints."""
    return np.array([model.joint(name).qposadr[0] for name in robot.joint_names], dtype=np.intp)


def configuration(robot: RobotDescription, q: F64) -> F64:
    """MuJoCo's configuration for joint positions ``q`` (n,) rad, including mimic joints."""
    motions = (joint_motion(robot.model, joint) for joint in range(1, robot.model.njoints))
    return np.array([of.ratio * q[of.column] + of.offset for of in motions])


def _couple(spec: mujoco.MjSpec, name: str, master: str, motion: JointMotion) -> None:
    """Couple a joint to its master, as stiffly as MuJoCo allows."""
    equality = spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT, name1=name, name2=master
    )
    equality.data[:2] = motion.offset, motion.ratio
    equality.solref = [2 * TIMESTEP_S, 1.0]


def _axis(model: pin.Model, joint: int, motion: JointMotion) -> F64:
    """(3,) a joint's axis in its own frame, from its motion relative to the parent joint in
    Pinocchio.
    """
    data = model.createData()
    velocity = np.zeros(model.nv)
    velocity[motion.column] = 1.0
    pin.forwardKinematics(model, data, pin.neutral(model), velocity)
    before = data.liMi[joint].actInv(data.v[int(model.parents[joint])])
    moved = data.v[joint] - before
    axis = np.array(moved.linear if motion.slides else moved.angular)
    return axis / motion.ratio if abs(motion.ratio) > 1e-9 else np.array([0.0, 0.0, 1.0])


def _set_inertia(body: mujoco.MjsBody, inertia: pin.Inertia) -> None:
    body.mass = max(float(inertia.mass), 1e-3)
    body.ipos = inertia.lever
    moment = np.array(inertia.inertia)
    values, axes = np.linalg.eigh((moment + moment.T) / 2)
    values = np.maximum(values, 1e-6)
    # estimated moments in URDFs may violate the triangle inequality
    values[2] = min(values[2], values[0] + values[1])
    if np.linalg.det(axes) < 0:
        axes[:, 0] *= -1
    body.inertia = values
    body.iquat = _wxyz(axes)


def _add_looks(
    spec: mujoco.MjSpec, robot: RobotDescription, bodies: dict[int, mujoco.MjsBody]
) -> None:
    """Add visual shapes, a floor and a light, all without contacts, since the supervisor prevents
    collisions.
    """
    quiet = {"contype": 0, "conaffinity": 0, "density": 0.0}
    texture = spec.add_texture(
        name="floor",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
    )
    texture.rgb1 = [0.85, 0.86, 0.88]
    texture.rgb2 = [0.75, 0.77, 0.80]
    texture.width = 256
    texture.height = 256
    material = spec.add_material(name="floor", texrepeat=[4, 4])
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    lowest = -0.8 if len(robot.arms) > 1 else 0.0
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[3, 3, 0.1],
        pos=[0, 0, lowest - 0.001],
        material="floor",
        **quiet,
    )
    spec.worldbody.add_light(pos=[1.0, -1.0, 2.5], dir=[-0.4, 0.4, -1.0], castshadow=True)
    _add_shapes(spec, robot, bodies, quiet)


def _add_shapes(
    spec: mujoco.MjSpec,
    robot: RobotDescription,
    bodies: dict[int, mujoco.MjsBody],
    quiet: dict[str, Any],
) -> None:
    """Add the robot's visual shapes; ``quiet`` are options of a shape without contacts."""
    for number, item in enumerate(robot.visual().geometryObjects):
        shape = item.geometry
        parent = bodies[int(item.parentJoint)]
        rgba = np.array(item.meshColor, dtype=np.float64)
        if item.overrideMaterial is False and np.allclose(rgba[:3], 0):
            rgba = np.array([0.8, 0.8, 0.82, 1.0])
        rgba[3] = 1.0
        place = {
            "pos": item.placement.translation,
            "quat": _wxyz(item.placement.rotation),
            "rgba": rgba,
            **quiet,
        }
        if isinstance(shape, coal.BVHModelBase):
            vertices = np.asarray(shape.vertices(), dtype=np.float64)
            faces = np.array(
                [[t[0], t[1], t[2]] for t in (shape.tri_indices(k) for k in range(shape.num_tris))],
                dtype=np.int32,
            )
            mesh = spec.add_mesh(
                name=f"mesh_{number}", uservert=vertices.ravel(), userface=faces.ravel()
            )
            mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
            parent.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"mesh_{number}", **place)
        elif isinstance(shape, coal.Box):
            parent.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=shape.halfSide, **place)
        elif isinstance(shape, coal.Cylinder):
            parent.add_geom(
                type=mujoco.mjtGeom.mjGEOM_CYLINDER,
                size=[shape.radius, shape.halfLength, 0],
                **place,
            )
        elif isinstance(shape, coal.Sphere):
            parent.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[shape.radius, 0, 0], **place)


def _wxyz(rotation: F64) -> F64:
    x, y, z, w = pin.Quaternion(np.asarray(rotation)).coeffs()
    return np.array([w, x, y, z])
