"""The subcommands of `pallas`: each a module with HELP, EXAMPLE, configure(parser) and run(args),
named in setup.cfg.
"""
