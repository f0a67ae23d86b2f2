"""The one exception that a person, not a programmer, is meant to read."""


class UserError(Exception):
    """One sentence: what was expected, what arrived, what to do. The command line prints it and exits 1, or 2
    where it begins with what was given wrongly: an option (`--size: ...`), or the command (`train: ...`).

    A `DataLoader` re-raises a worker's exception with the whole traceback as its message; `str()` then gives
    the sentence alone, and `args` keeps the traceback.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if text.startswith("Caught UserError in "):
            return text.rsplit("UserError: ", 1)[-1].strip()
        return text
