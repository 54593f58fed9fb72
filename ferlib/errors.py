"""The one exception that stands for a mistake its reader can mend."""


class FerlibError(ValueError):
    """What was wrong, in which file and row, and what to do, in one or two plain lines.

    `code` is a short name for programs, such as the `error.code` of an HTTP answer.
    """

    def __init__(self, message: str, code: str = "error"):
        super().__init__(message)
        self.code = code
