"""A small workshop to set up, and environment variables that block all package indexes."""

import importlib.metadata
import os
import shutil

from wheel_support import is_installed

from workshop.setup.process import ROOT

LOCKED = ("click", "flit-core", "uv", *(["colorama"] if os.name == "nt" else []))


def make_house(folder):
    """The files of the repository that set-up needs, with the small lock."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "workshop", folder / "workshop", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in LOCKED if is_installed(name)]
    (folder / "requirements.txt").write_text("\n".join([*pins, ""]), encoding="utf-8")
    return folder


def environ(**more):
    """Environment variables with which no package index can be reached."""
    dropped = ("WORKSHOP_", "PIP_", "UV_", "PYTHON", "VIRTUAL_ENV", "ALL_PROXY")
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(dropped)}
    # Hide this computer's uv, so that set-up installs its own.
    folders = os.environ["PATH"].split(os.pathsep)
    kept["PATH"] = os.pathsep.join(f for f in folders if not shutil.which("uv", path=f))
    nowhere = "http://127.0.0.1:9"
    proxies = {"HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "NO_PROXY": ""}
    kept = {k: v for k, v in kept.items() if k.upper() not in proxies}
    quiet = {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", "PYTHONUTF8": "1"}
    return kept | proxies | quiet | more
