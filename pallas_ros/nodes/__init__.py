"""Nodes: thin adapters between messages and the plain objects."""
