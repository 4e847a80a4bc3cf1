"""What `pallas bench` measures.

A benchmark is a function of the entry-point group ``pallas.bench``: `BenchSettings` in, `Row`s out,
as they come.
"""
