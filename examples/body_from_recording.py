"""Turn an IMU recording into a motion file.

python examples/body_from_recording.py walk.npz motion.npz
"""

import sys

import numpy as np

from pallas_ros import Calibration, Motion, PipelineSettings, load_recording, save_motion

recording = load_recording(sys.argv[1])
pipeline = PipelineSettings(height_m=1.75).pipeline()
if recording.calibrated:  # otherwise the pipeline calibrates on the still T-pose at the start
    pipeline.apply_calibration(Calibration.identity(), 0)

bodies = []
for site, sample in recording.samples(start=1):
    bodies += pipeline.push(site, sample)

if not bodies:
    sys.exit(f"no body: {'; '.join(pipeline.remarks())}")
motion = Motion(
    fps=60.0,
    positions=np.stack([body.positions for body in bodies]),
    rotations=np.stack([body.rotations for body in bodies]),
)
save_motion(sys.argv[2], motion)
print(f"{len(motion)} frames, {motion.duration:.1f} s")
