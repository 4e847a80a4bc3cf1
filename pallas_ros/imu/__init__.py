"""IMU acquisition, calibration and synchronisation: bytes of four sensors in, synchronised frames
out. No ROS, no torch.
"""
