"""The instructor's guide holds: every line of its run sheets is performed against the real thing.

Each sheet gets the terminal and the browser that its words ask for (`docs/run-sheets.toml` explains them):
commands run as processes, pages open in Chromium, and what must appear has to appear. All sheets share a
fresh learner's copy, so that their changes and accounts meet nobody's own.
"""

import contextlib
import re
import shutil
import subprocess
import sys
import time

import pytest
from browser_support import (  # noqa: F401
    browser,
    browser_context_args,
    playwright,
    watch,
)
from playwright.sync_api import expect

from workshop.core.own_apps import find_app
from workshop.core.stages import BASE, find_stage, stages_with_model
from workshop.host.background import Server
from workshop.host.ports import free_port, status_of
from workshop.setup.process import ROOT
from workshop.upkeep import instructor_guide as guide

SHEETS = {find_stage(sheet["stage"]).slug: sheet for sheet in guide.read_sheets()}
PATIENCE = 300  # seconds for a command: `start` may have three models to train, on a busy machine
SERVERS = ("start", "app")  # the commands that go on until Ctrl-C
PAGE_PATIENCE = 60_000  # milliseconds for a text to appear: JupyterLab's first page takes its time
MODIFIER = "Meta" if sys.platform == "darwin" else "Control"


class Room:
    """The instructor's laptop: a terminal that runs one server at a time, a browser, and the copy."""

    def __init__(self, page, copy=None, patience=PAGE_PATIENCE):
        self.page = page
        self.copy = copy
        self.patience = patience
        self.ports = {}  # those of this run, by those in the sheets
        self.server = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.close()

    def perform(self, step):
        """Do what one line of a sheet says, and see what it says must appear."""
        words = {word: self.here(text) for word, text in step.items()}
        seen = words.pop("see", None)
        if "type" in words:
            printed = self.type(words["type"], seen)
            assert seen is None or seen in printed, f"{step} printed\n{printed}"
            return
        before = self.page.locator("body").inner_text()
        self.act(words)
        if seen is None:
            return
        if "open" not in words:
            assert seen not in tidy(before), f"{step}: its text was on the page before"
        expect(self.page.locator("body"), str(step)).to_contain_text(
            seen, use_inner_text=True, timeout=self.patience
        )

    def here(self, text):
        """A text with the addresses of this run: ports that are free, in place of the usual ones."""
        return re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda found: str(self.port(found[0])), text)

    def port(self, usual):
        return self.ports.setdefault(usual, free_port())

    def act(self, words):
        page = self.page
        match words:
            case {"open": address}:
                page.goto(address)
            case {"fill": field, "with": typed}:
                page.get_by_label(field, exact=True).fill(typed)
            case {"choose": option, "in": field}:
                page.get_by_label(field, exact=True).select_option(label=option)
            case {"press": name}:
                self.press(name)
            case {"run": cell, **rest}:
                self.run(cell, rest.get("with"))
            case {"change": name, "from": old, "to": new}:
                file = self.copy / name
                text = file.read_text(encoding="utf-8")
                assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
                file.write_text(text.replace(old, new), encoding="utf-8")
            case _:
                pytest.fail(f"nobody knows how to do this: {words}")

    def press(self, name):
        """A button of exactly this name, or else a link; what opens in a tab of its own is followed."""
        button = self.page.get_by_role("button", name=name, exact=True)
        link = self.page.get_by_role("link", name=name)
        pressed = (button if button.count() else link).first
        if pressed.get_attribute("target") == "_blank":
            with self.page.expect_popup() as opened:
                pressed.click()
            self.page = opened.value
        else:
            pressed.click()

    def run(self, cell, new):
        """A cell of the notebook in JupyterLab, found by what is in it."""
        editor = self.page.locator(".jp-CodeCell .cm-content").filter(has_text=cell).first
        editor.click()
        if new:
            self.page.keyboard.press(f"{MODIFIER}+A")
            self.page.keyboard.insert_text(new)
        self.page.keyboard.press("Shift+Enter")

    def type(self, command, seen):
        """What a command prints; of a server, when it answers and has printed `seen`, and it goes on."""
        workshop = "python3 -m workshop "
        if not command.startswith(workshop):
            # As in a terminal: the quotes of these lines are those of sh and of Windows' cmd.
            run = subprocess.run(  # noqa: S602 (the shell is what is tested)
                command, shell=True, capture_output=True, encoding="utf-8", timeout=PATIENCE
            )
            assert run.returncode == 0, run.stderr
            return run.stdout
        self.server.close()  # Ctrl-C
        name, *arguments = command.removeprefix(workshop).split()
        if name in SERVERS:
            return self.serve(name, arguments, seen)
        run = subprocess.run(
            [sys.executable, "-m", "workshop", name, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def serve(self, name, arguments, seen):
        if "--port" in arguments:
            usual = arguments[arguments.index("--port") + 1]
        else:
            usual = "8000" if name == "start" else f"{find_app(arguments[0]).port}"
        options = ["--port", self.port(usual)]
        if name == "start":
            options += ["--lab-port", self.port("8888"), "--no-browser"]
        command = ["workshop", name, *arguments, *options]
        url = f"http://127.0.0.1:{self.port(usual)}"
        server = self.server.enter_context(Server(f"workshop {name}", command, url))
        deadline = time.monotonic() + PATIENCE
        while (seen or "") not in server.log_end(1000) or status_of(url) is None:
            assert server.is_running(), server.log_end()
            assert time.monotonic() < deadline, server.log_end()
            time.sleep(0.1)
        return server.log_end(1000)


def tidy(text):
    """Text with each run of blanks as one, as the browser compares it."""
    return " ".join(text.split())


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A learner's copy with the models that are trained already; the first command makes the rest."""
    folder = tmp_path_factory.mktemp("sheets") / "work"
    for stage in stages_with_model():
        model = f"apps/{stage.slug}/model"
        if (ROOT / model).exists():
            shutil.copytree(ROOT / model, folder / model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BASE, str(folder))
        patch.setenv("PYTHONUTF8", "1")
        patch.delenv("DATABASE_URL", raising=False)  # the database of stage 06 is the copy's own
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("slug", SHEETS)
def test_a_run_sheet_says_what_happens(slug, context, copy):
    sheet = SHEETS[slug]
    steps = [*sheet["steps"], *sheet["mistake_steps"]]
    if any(step.get("type", "").startswith("curl") for step in steps) and not shutil.which("curl"):
        pytest.skip("this computer has no curl, which the sheet uses")
    trouble = watch(context)
    context.set_default_timeout(PAGE_PATIENCE)
    stage = find_stage(slug)
    with Room(context.new_page(), copy) as room:
        if stage.model and not (copy / "apps" / slug / "model").exists():
            room.perform({"type": f"python3 -m workshop train {stage.code}", "see": "trained on"})
        for step in steps:
            room.perform(step)
    assert [each for each in trouble if "leaves this machine" in each] == []


# What the sheets can't get away with


BUTTON = "<p>Now</p><button onclick=\"document.body.append('Then')\">Go</button>"


def test_a_text_that_does_not_appear_is_noticed(page):
    page.set_content(BUTTON)
    room = Room(page, patience=200)
    room.perform({"press": "Go", "see": "Then"})
    with pytest.raises(AssertionError, match="Never"):
        room.perform({"press": "Go", "see": "Never"})


def test_a_text_that_was_there_before_proves_nothing(page):
    page.set_content(BUTTON)
    with pytest.raises(AssertionError, match="was on the page before"):
        Room(page).perform({"press": "Go", "see": "Now"})


def test_a_command_that_prints_something_else_is_noticed(page):
    with pytest.raises(AssertionError, match="printed"):
        Room(page).perform({"type": "python3 -m workshop train 01", "see": "trained on"})


def test_a_change_of_what_is_not_there_is_noticed(page, tmp_path):
    (tmp_path / "app.py").write_text("one", encoding="utf-8")
    room = Room(page, tmp_path)
    with pytest.raises(AssertionError, match="has 'two' 0 times"):
        room.perform({"change": "app.py", "from": "two", "to": "three"})
    room.perform({"change": "app.py", "from": "one", "to": "two"})
    assert (tmp_path / "app.py").read_text(encoding="utf-8") == "two"


def test_the_usual_ports_become_free_ones(page):
    room = Room(page)
    mapped = room.here("http://127.0.0.1:8001/a http://127.0.0.1:8002/ 8001")
    ports = re.findall(r"127\.0\.0\.1:(\d+)", mapped)
    assert len(set(ports)) == 2
    assert not {"8001", "8002"} & set(ports)
    assert mapped.endswith(" 8001")
    assert room.here("http://127.0.0.1:8001/b") == f"http://127.0.0.1:{ports[0]}/b"
