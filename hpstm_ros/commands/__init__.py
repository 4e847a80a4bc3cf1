"""Subcommands of `pallas` for smoothing and retargeting: modules as in pallas_ros.commands,
registered in setup.cfg.
"""
