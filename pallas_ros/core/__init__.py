"""Base of all other packages: errors, plug-ins, places of data files. Standard library only."""
