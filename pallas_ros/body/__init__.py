"""The human body: names, skeleton, rotations, kinematics and the records passed between components.

Needs numpy only.
"""
