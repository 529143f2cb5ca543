"""Ways to cause real problems, for the tests of the doctor and of docs/troubleshooting.md."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import wheel_support
from wheel_support import environ as cut_off

from workshop.setup.process import ROOT


def bound_by_permissions() -> list[str]:
    """Return a command prefix that makes permissions apply to root as well; it may be empty."""
    if os.name != "posix":
        pytest.skip("Windows folders have no such mode")
    if not os.geteuid() and not shutil.which("setpriv"):
        pytest.skip("root may write anywhere, and setpriv, which prevents that, isn't installed")
    return ["setpriv", "--bounding-set=-dac_override"] if not os.geteuid() else []


def copy_apps(folder: Path, *slugs: str) -> None:
    """Copy the original apps of stages into the folder `apps` in `folder`."""
    ignored = shutil.ignore_patterns("__pycache__", "model", "instance")
    for slug in slugs:
        shutil.copytree(ROOT / "apps" / slug, folder / "apps" / slug, ignore=ignored)


def put_kernel(folder: Path, content: str) -> Path:
    """Install a kernel named python3 into a folder for Jupyter's data, as another program would."""
    kernel = folder / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(content, encoding="utf-8")
    return kernel


def spec_of_another_python(folder: Path) -> str:
    """The kernel.json of a Python made in `folder` that can run notebooks but lacks the workshop."""
    venv.create(folder, symlinks=os.name == "posix")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    environ = {"PYTHONPATH": sysconfig.get_path("purelib")}
    return json.dumps({"argv": command, "display_name": "Mine", "env": environ})


def make_house(folder: Path) -> Path:
    """Copy what set-up needs from the repository, with its real lock."""
    wheel_support.make_house(folder)
    shutil.copy(ROOT / "requirements.txt", folder)
    return folder


def type_in(house: Path, *arguments: object, before: tuple[str, ...] = (), **more: str) -> str:
    """The output of `python3 -m workshop ARGUMENTS`, which fails, in a folder and without a network."""
    run = subprocess.run(
        [*before, sys.executable, "-m", "workshop", *map(str, arguments)],
        cwd=house,
        env=cut_off(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    assert run.returncode == 1
    return run.stdout + run.stderr
