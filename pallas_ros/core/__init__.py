"""Base of all other packages: errors, plug-ins, locations of data files. Standard library only."""
