"""The error that a user can act upon."""


class InputError(Exception):
    """Something a user gave is wrong: the message names it, says what is wrong and what to do.

    It may hold several problems, one line each.
    """


class SystemInputError(InputError):
    """What is wrong is no image: a setting, the machine, or a store of ours that was damaged since it was made.

    So no image is set aside for it: that would leave it out for good.
    """
