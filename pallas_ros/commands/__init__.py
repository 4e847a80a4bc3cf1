"""Subcommands of `pallas`.

Each is a module with HELP, EXAMPLE, configure(parser) and run(args), registered in setup.cfg.
"""
