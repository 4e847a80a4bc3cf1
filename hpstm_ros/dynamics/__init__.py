"""Forces in the operator's body.

Joint moments, ground reaction, load and ergonomics; no ROS, no torch.
"""
