"""From a human arm to a robot arm: where the robot's hand should be, and the joint angles that
bring it there.
"""
