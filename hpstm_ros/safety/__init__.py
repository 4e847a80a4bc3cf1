"""The last word on every command: limits, watchdogs, the supervisor, and the checker that judges
what it sent.
"""
