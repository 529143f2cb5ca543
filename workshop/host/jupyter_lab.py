"""`python -m workshop.host.jupyter_lab ARGS`: JupyterLab, with the workshop's own configuration alone.

Two things can't be told to it. Its module for installing extensions (which the workshop's does not offer)
fails when it is imported where a proxy speaks SOCKS, or has no scheme; so the proxies, which the kernels
need, are set again afterwards. And what the computer's administrator has configured for everybody comes
from a list.
"""

import os
import sys

from jupyter_core import paths

if __name__ == "__main__":
    proxies = {name: os.environ.pop(name) for name in list(os.environ) if "_PROXY" in name.upper()}
    from jupyterlab.labapp import main

    os.environ |= proxies
    if sys.prefix != sys.base_prefix:  # elsewhere the list may name JupyterLab's own folders
        paths.SYSTEM_CONFIG_PATH.clear()
    main()
