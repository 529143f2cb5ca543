"""The README's pictures can be made anew at any time, from the running apps."""

import contextlib
import re
import struct
import subprocess
import sys

import pytest
from browser_support import browser, browser_context_args, playwright  # noqa: F401
from playwright.sync_api import Error

from workshop.setup.process import ROOT
from workshop.upkeep import readme_pictures as pictures


def size_of(png):
    """Width and height of a PNG file, in pixels."""
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG")
    return struct.unpack(">II", content[16:24])


def test_every_picture_can_be_made_anew(tmp_path, browser):  # noqa: F811 (which skips without one)
    run = subprocess.run(
        [sys.executable, "-m", "workshop", "pictures", str(tmp_path / "new")],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    for take in pictures.PICTURES:
        made = tmp_path / "new" / f"{take.__name__}.png"
        assert f"made {made}\n" in run.stdout
        assert size_of(made) == (pictures.SIZE["width"], pictures.SIZE["height"])
        assert size_of(pictures.FOLDER / made.name) == size_of(made), (
            "the committed one is as large"
        )


def test_the_readme_shows_what_the_command_makes():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"docs/images/(\w+)\.png", readme))
    assert shown == {take.__name__ for take in pictures.PICTURES}


def test_without_a_browser_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "installed_browsers", list)
    with pytest.raises(pictures.NoBrowser, match="install Chromium, Chrome or Edge"):
        list(pictures.make_pictures(tmp_path))


@pytest.mark.parametrize(("failures", "taken"), [(0, True), (3, True), (4, False)])
def test_a_browser_that_fails_to_take_a_picture_is_asked_again(failures, taken, tmp_path):
    class Busy:
        asked = 0

        def screenshot(self, path):
            self.asked += 1
            if self.asked <= failures:
                raise Error("Unable to capture screenshot")
            path.touch()

        def wait_for_timeout(self, milliseconds):
            pass

    with contextlib.nullcontext() if taken else pytest.raises(Error, match="Unable"):
        pictures.take(Busy(), tmp_path / "a.png")
    assert (tmp_path / "a.png").exists() == taken
