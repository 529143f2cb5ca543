"""`python -m workshop.host.end_with_parent MODULE ARGS`: a module that ends with the process that started it.

The starter holds the other end of this process's standard input. When the starter is gone, however it
went, that pipe closes, and the module is asked to stop; so no server outlives a killed notebook kernel.
"""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

STDIN = 0
PATIENCE = 5.0  # seconds a server has to stop by itself
GLANCE = 0.5  # seconds between two looks at whether the parent is still there


def end_tree(pid: int) -> None:
    """End the group of processes that `pid` leads; on Windows, `pid` and all that it started."""
    if os.name == "posix":
        gone = ProcessLookupError, PermissionError  # macOS, of one that is gone: no permission
        with contextlib.suppress(*gone):
            os.killpg(pid, signal.SIGKILL)
    else:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True)


def end_after(wait: Callable[[], object]) -> None:
    """Once `wait` returns, in another thread, end this process and the group that it leads, gently first."""

    def end() -> None:
        wait()
        if os.name == "posix":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(PATIENCE)
        end_tree(os.getpid())
        os._exit(0)

    threading.Thread(target=end, name="leash", daemon=True).start()


def follow(parent: int) -> None:
    """End this process when `parent`, the process that started it, has ended.

    For processes that somebody else's code starts, so that they are on no leash. On Windows, where a
    process keeps the number of its parent, nothing follows.
    """

    def until_orphaned() -> None:
        while os.getppid() == parent:  # an orphan gets another parent
            time.sleep(GLANCE)

    if os.name == "posix":
        end_after(until_orphaned)


def until_let_go() -> None:
    """Return when the starter has closed its end of the pipe."""
    # Not through sys.stdin: a thread that waits in it holds its lock, and a forked worker would hang.
    while os.read(STDIN, 4096):
        pass


if __name__ == "__main__":
    module, sys.argv = sys.argv[1], sys.argv[1:]
    end_after(until_let_go)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
