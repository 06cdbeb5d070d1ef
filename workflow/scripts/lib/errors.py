"""The error that a user can act upon."""


class InputError(Exception):
    """Something a user gave is wrong: the message names it, says what is wrong and what to do.

    It may hold several problems, one line each.
    """
