"""What `pallas bench` measures. A benchmark is a function of the entry-point group ``pallas.bench``: `Settings` in, `Row`s out, as they come."""
