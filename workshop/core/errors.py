"""Errors for learners: one sentence that says what to do, and no traceback."""


class WorkshopError(Exception):
    """An error that the person at the keyboard can fix.

    The command line prints the message and exits with 1. In a notebook, IPython calls
    `_render_traceback_`, so the sentence appears instead of a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class ServerDied(WorkshopError):
    """A server stopped unexpectedly, or didn't respond in time; the message ends with its log."""
