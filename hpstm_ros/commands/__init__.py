"""The subcommands of `pallas` that smooth and retarget: modules like those of pallas_ros.commands,
named in setup.cfg.
"""
