"""The README's pictures can be taken again at any time, from the running apps."""

import re
import struct
import subprocess
import sys

from browser_support import browser, browser_context_args, playwright  # noqa: F401

from workshop.setup.process import ROOT
from workshop.upkeep import readme_pictures as pictures


def size_of(png):
    """Width and height of a PNG file, in pixels."""
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG")
    return struct.unpack(">II", content[16:24])


def test_every_picture_can_be_taken_again(tmp_path, browser):  # noqa: F811 (which skips without one)
    run = subprocess.run(
        [sys.executable, "-m", "workshop.upkeep.readme_pictures", tmp_path / "new"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    for name in pictures.PAGES:
        made = tmp_path / "new" / f"{name}.png"
        assert f"made {made}\n" in run.stdout
        assert size_of(made) == (pictures.SIZE["width"], pictures.SIZE["height"])
        assert size_of(pictures.FOLDER / made.name) == size_of(made)


def test_the_readme_shows_what_the_program_makes():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"docs/images/(\w+)\.png", readme)) == pictures.PAGES.keys()


def test_without_a_browser_the_program_says_what_to_do(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "workshop.upkeep.readme_pictures", tmp_path],
        cwd=ROOT,
        env={"WORKSHOP_BROWSER": str(tmp_path / "none"), "PATH": ""},
        capture_output=True,
        encoding="utf-8",
    )
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert f"{tmp_path / 'none'} doesn't start" in run.stderr
