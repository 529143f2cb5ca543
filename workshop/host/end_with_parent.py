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

STDIN = 0
PATIENCE = 5.0  # seconds a server has to stop by itself
GLANCE = 0.5  # seconds between two looks at whether the parent is still there


def end_tree(pid: int) -> None:
    """End the group of processes that `pid` leads; on Windows, `pid` and all that it started."""
    if os.name == "posix":
        with contextlib.suppress(
            ProcessLookupError, PermissionError
        ):  # macOS, of one gone: no permission
            os.killpg(pid, signal.SIGKILL)
    else:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True)


def watch() -> None:
    """Wait for the starter's end, then end this process."""
    # Not through sys.stdin: a thread that waits in it holds its lock, and a forked worker would hang.
    while os.read(STDIN, 4096):
        pass
    end_this()


def follow(parent: int) -> None:
    """End this process when `parent`, the process that started it, has ended.

    For processes that somebody else's code starts, so that they are on no leash. On Windows, where a
    process keeps the number of its parent, nothing follows.
    """
    if os.name == "posix":
        threading.Thread(target=_follow, args=[parent], name="follow", daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:  # an orphan gets another parent
        time.sleep(GLANCE)
    end_this()


def end_this() -> None:
    """End this process and the group that it leads, gently first."""
    if os.name == "posix":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
    end_tree(os.getpid())
    os._exit(0)


def main() -> None:
    module, sys.argv = sys.argv[1], sys.argv[1:]
    threading.Thread(target=watch, name="leash", daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
