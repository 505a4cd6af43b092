"""The one exception class for bad input."""


class InputError(ValueError):
    """Something the user gave is wrong.

    The message is one sentence: which file or field, what was found, what was expected, what to do. Scripts print it
    and exit with status 1; anything else that escapes is a defect and keeps its traceback.
    """
