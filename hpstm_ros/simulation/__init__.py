"""The simulated arm: MuJoCo behind the topics of a real controller."""
