"""Errors that a user can act upon."""


class InputError(Exception):
    """Something that the user gave is wrong.

    The message names the file or setting, says what is wrong and what to do. It may hold several problems, one a line.
    """


class SystemInputError(InputError):
    """The fault lies with a setting, the machine or a damaged store of Tessera, not with an image.

    No image is skipped because of it, since a skipped image would be missing from all further results.
    """
