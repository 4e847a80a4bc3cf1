"""Retargeting of a human arm to a robot arm: goals for the robot's hand and inverse kinematics."""
