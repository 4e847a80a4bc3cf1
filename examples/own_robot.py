"""Follow the operator's hand with a robot described by its URDF.

    python examples/own_robot.py my_arm.urdf

`pallas retarget --robot my_arm.urdf --describe my_arm.yaml` writes the derived tip, ready posture,
limits and workspace to a file that you can edit.
"""

import sys

import numpy as np

from hpstm_ros import SupervisorSettings, Teleoperation, load_robot
from hpstm_ros.teleoperation.recorded import frames
from pallas_ros import demo_motion

robot = load_robot(sys.argv[1])
print(f"{robot.name}: joints {', '.join(robot.joint_names)}; tip {robot.arms[0].tip}")

period = 8_000_000  # ns, 125 commands per second
arm = Teleoperation(robot, "right", safety=SupervisorSettings(require_dead_man=False))
now = 10_000_000_000
q = robot.q_ready
arm.simulate_rest(now, q)  # a real arm reports its joint states: arm.joints(now, stamp, names, q)
engaged = arm.supervisor.engage(now)
for body in frames(demo_motion(6.0), start=now):
    while now < body.stamp:
        now += period
        arm.joints(now, now, robot.joint_names, q)
        command = arm.tick(now)
        q = command.points[0][0]
    arm.body(now, body)
    arm.supervisor.engage(now)
print(f"{arm.supervisor.state.name.lower()}; tip at {np.round(arm.tips(q)[0], 3)} m")
