"""`python -m workshop.host.jupyter_lab ARGS`: JupyterLab with only the workshop's configuration.

Two things have no option. JupyterLab's module for extensions can't be imported if a proxy uses SOCKS or has
no scheme, so the proxy variables are removed for the import and set again for the kernels. And JupyterLab
would read the system-wide configuration, from the folders in a list, so that list is emptied.
"""

import os
import sys

from jupyter_core import paths

if __name__ == "__main__":
    proxies = {name: os.environ.pop(name) for name in list(os.environ) if "_PROXY" in name.upper()}
    from jupyterlab.labapp import main

    os.environ |= proxies
    if sys.prefix != sys.base_prefix:  # or the list may contain JupyterLab's own folders
        paths.SYSTEM_CONFIG_PATH.clear()
    main()
