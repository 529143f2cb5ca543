"""A Python with the packages attendees install, and without those that only the tests need."""

import importlib.metadata
import sys
import sysconfig
import venv
from pathlib import Path

from workshop.setup.lock import LOCK, TEST_LOCK, locked


def attendees_python(folder, repository):
    """Make an environment in `folder` with the packages of `requirements.txt`; return its Python.

    The packages are links to those of this Python. `repository` is where `workshop` is imported from.
    """
    venv.create(folder / "venv", symlinks=True)
    for_tests = set(locked(TEST_LOCK)) - set(locked(LOCK))
    names = [pin.partition("==")[0] for pin in for_tests]
    distributions = [d for name in names for d in importlib.metadata.distributions(name=name)]
    left_out = {file.parts[0] for each in distributions for file in each.files or ()}
    linked = folder / "packages"
    linked.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.suffix != ".pth" and (path.name == "__pycache__" or path.name not in left_out):
            (linked / path.name).symlink_to(path)
    site = sysconfig.get_path("purelib", "venv", {"base": str(folder / "venv")})
    paths = f"{linked}\n{repository}\n"
    Path(site, "attendee.pth").write_text(paths, encoding=sys.getfilesystemencoding())
    return folder / "venv" / "bin" / "python"
