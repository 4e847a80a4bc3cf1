"""Benchmarks of `pallas bench` for retargeting and for the supervisor under hostile input."""
