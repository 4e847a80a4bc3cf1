"""Streaming smoothing of bodies: classical filters, HPSTM, pose-estimator adapters.

No ROS, no torch.
"""
