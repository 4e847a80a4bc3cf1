"""Base of all other packages: the error type and plug-ins. Standard library only."""
