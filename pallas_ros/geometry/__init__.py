"""Rotations in torch, shared by the networks, their data and their training."""
