"""A Python with the packages attendees install, and without those that only the tests need."""

import importlib.metadata
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from workshop.setup.lock import LOCK, TEST_LOCK, locked


def packages(lock):
    return {pin.partition("==")[0] for pin in locked(lock)}


def files_of(names):
    """The files and folders in site-packages that belong to the packages in `names`."""
    found = set()
    for name in names:
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # not installed in this Python either
        found |= {file.parts[0] for file in files}
    return found - {"..", "__pycache__"}


def attendees_python(folder, repository):
    """Make an environment in `folder` with the packages of `requirements.txt`; return its Python.

    The packages are links to those of this Python. `repository` is where `workshop` is imported from.
    """
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    left_out = files_of(packages(TEST_LOCK) - packages(LOCK))
    linked = folder / "packages"
    linked.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.name not in left_out and path.suffix != ".pth":
            (linked / path.name).symlink_to(path)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    run = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    paths = f"{linked}\n{repository}\n"
    Path(run.stdout.strip(), "attendee.pth").write_text(paths, encoding=sys.getfilesystemencoding())
    return python
