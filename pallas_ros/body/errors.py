"""The one exception a user is meant to read."""


class PallasError(Exception):
    """Bad input or configuration: one sentence that says what is wrong, where, and what to do.

    The command line prints the sentence and exits with status 2; a node logs it and carries on, or refuses to configure.
    """
