"""IMU acquisition, calibration and synchronisation: bytes in, synchronised frames out.

No ROS, no torch.
"""
