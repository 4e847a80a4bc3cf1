"""Training and evaluation of the PALLAS network (torch)."""
