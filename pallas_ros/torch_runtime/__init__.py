"""Run a torch module as a stream, as reference, and export it to a model file."""
