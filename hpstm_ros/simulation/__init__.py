"""The simulated arm: MuJoCo with the topics of a real controller."""
