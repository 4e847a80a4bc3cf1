"""What every other package stands on: the error type and plug-ins. Standard library only."""
