"""Retarget a motion to an arm under the supervisor, and plot its joints.

python examples/retarget_and_plot.py panda joints.png [motion.npz]
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

from hpstm_ros import load_robot, retarget_motion
from pallas_ros import demo_motion, load_motion

robot = load_robot(sys.argv[1])
motion = load_motion(sys.argv[3]) if len(sys.argv) > 3 else demo_motion(8.0)
arm = retarget_motion(motion, robot, side="right")

error = np.nanmedian(arm.tip_error[arm.tracking])  # NaN until the first goal
print(f"median tip error {1e3 * error:.0f} mm while tracking")
print(f"{len(arm.violations)} limit violations")

figure, axes = plt.subplots(2, sharex=True, figsize=(8, 5), layout="constrained")
axes[0].plot(arm.t, arm.q, label=arm.joint_names)
axes[0].set_ylabel("joint position (rad)")
axes[0].legend(fontsize=7, ncols=4)
axes[1].plot(arm.t, 1e3 * arm.tip_error)
axes[1].set(xlabel="time (s)", ylabel="tip error (mm)")
figure.savefig(sys.argv[2], dpi=120)
