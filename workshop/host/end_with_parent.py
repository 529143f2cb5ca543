"""`python -m workshop.host.end_with_parent MODULE ARGS` runs a module until the process that started it ends.

Standard input is a pipe from the parent. When the parent ends, even if it's killed, the pipe closes and the
module is asked to stop. So no server outlives a killed notebook kernel.
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
PATIENCE = 5.0  # seconds for a server to stop before it's killed
GLANCE = 0.5  # seconds between two checks whether the parent is still running


def end_tree(pid: int) -> None:
    """Kill the process group that `pid` leads; on Windows, `pid` and every process it started."""
    if os.name == "posix":
        # PermissionError is what macOS says of a process that has ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    else:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True)


def end_after(wait: Callable[[], object]) -> None:
    """Call `wait` in a thread; when it returns, stop this process and its group, gently first."""

    def end() -> None:
        wait()
        if os.name == "posix":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(PATIENCE)
        end_tree(os.getpid())
        os._exit(0)

    threading.Thread(target=end, name="end with parent", daemon=True).start()


def follow(parent: int) -> None:
    """End this process when its parent process, `parent`, has ended.

    For processes that a library starts, without a pipe to us. On Windows, where a process keeps its
    parent's number, this does nothing.
    """

    def until_orphaned() -> None:
        while os.getppid() == parent:  # the system gives an orphan another parent
            time.sleep(GLANCE)

    if os.name == "posix":
        end_after(until_orphaned)


def until_let_go() -> None:
    """Return when the parent has closed its end of the pipe."""
    # Not sys.stdin.read: a waiting thread holds its lock, and a forked worker would hang.
    while True:
        try:
            if not os.read(STDIN, 4096):
                return
        except BlockingIOError:  # a process that shares the pipe has made it non-blocking
            time.sleep(GLANCE)


if __name__ == "__main__":
    module, sys.argv = sys.argv[1], sys.argv[1:]
    end_after(until_let_go)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
