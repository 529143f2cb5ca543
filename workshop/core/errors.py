"""Errors that a learner reads: one sentence that says what to do, and no traceback."""


class WorkshopError(Exception):
    """Something the person at the keyboard can fix.

    The command line prints the message and exits with 1; in a notebook, IPython calls
    `_render_traceback_` and so shows the sentence where other errors show their traceback.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class ServerDied(WorkshopError):
    """A server ended by itself, or did not answer in time; the message ends with its log."""
