"""The human body: its names, skeleton, rotations, kinematics and the records that travel.

Needs numpy only.
"""
