"""What `pallas bench` measures of the robot's side: retargeting, and the supervisor under hostile
input.
"""
