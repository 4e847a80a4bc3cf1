"""Rotations in torch, shared by networks, data and training."""
