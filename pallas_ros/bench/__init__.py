"""Benchmarks of `pallas bench`.

A benchmark is a function of the entry-point group ``pallas.bench`` that takes `BenchSettings` and
yields `Row`s.
"""
