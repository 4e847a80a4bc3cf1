"""Final check of every command: limits, watchdogs, the supervisor, and an independent checker."""
