"""Every step of the run sheets works: commands run as processes, and pages open in Chromium.

The comment at the top of `docs/run-sheets.toml` explains the steps. All sheets share a new learner's copy.
"""

import contextlib
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict

import pytest
from browser_support import watch
from playwright.sync_api import expect

from workshop.core.own_apps import find_app
from workshop.core.stages import BASE, find_stage
from workshop.host.background import Server
from workshop.host.ports import free_port, status_of
from workshop.setup.process import ROOT
from workshop.upkeep import instructor_guide as guide

SHEETS = {find_stage(sheet["stage"]).slug: sheet for sheet in guide.read_sheets()}
PATIENCE = 300  # seconds for a command, such as `start`, which trains models
SERVERS = ("start", "app")  # the commands that run until Ctrl-C
PAGE_PATIENCE = 60_000  # milliseconds for some text to appear; JupyterLab is slow to start


class Room:
    """The instructor's laptop: a terminal that runs one server at a time, a browser, and the copy."""

    def __init__(self, page, copy=None, patience=PAGE_PATIENCE):
        self.page, self.copy, self.patience = page, copy, patience
        self.ports = defaultdict(free_port)  # the ports of this run, by those in the sheets
        self.server = contextlib.ExitStack()

    def perform(self, step):
        """Perform a step, on free ports instead of the usual ones, and check what must appear."""
        usual = re.compile(r"(?<=127\.0\.0\.1:)\d+")
        words = {
            word: usual.sub(lambda found: f"{self.ports[found[0]]}", text)
            for word, text in step.items()
        }
        seen = words.pop("see", "")
        if "type" in words:
            printed = self.type(words["type"], seen)
            assert seen in printed, f"{step} printed\n{printed}"
            return
        before = " ".join(
            self.page.locator("body").inner_text().split()
        )  # as the browser compares it
        self.act(words)
        if seen:
            assert "open" in words or seen not in before, f"{step}: its text was there before"
            expect(self.page.locator("body"), str(step)).to_contain_text(
                seen, use_inner_text=True, timeout=self.patience
            )

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
                button = page.get_by_role("button", name=name, exact=True)
                link = page.get_by_role("link", name=name)
                expect(button.or_(link).first).to_be_visible(timeout=self.patience)
                pressed = (button if button.count() else link).first
                if pressed.get_attribute("target") == "_blank":
                    with page.expect_popup() as opened:
                        pressed.click()
                    self.page = opened.value
                else:
                    pressed.click()
            case {"run": cell, **rest}:
                page.locator(".jp-CodeCell .cm-content").filter(has_text=cell).first.click()
                if "with" in rest:
                    page.keyboard.press("ControlOrMeta+A")
                    page.keyboard.insert_text(rest["with"])
                page.keyboard.press("Shift+Enter")
            case {"change": name, "from": old, "to": new}:
                file = self.copy / name
                text = file.read_text(encoding="utf-8")
                assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
                file.write_text(text.replace(old, new), encoding="utf-8")
            case _:
                pytest.fail(f"an unknown step: {words}")

    def type(self, command, seen):
        """Return a command's output. A server keeps running after it has printed `seen` and answers."""
        workshop = "python3 -m workshop "
        is_ours = command.startswith(workshop)
        if is_ours:
            self.server.close()  # Ctrl-C
            name, *arguments = command.removeprefix(workshop).split()
            if name in SERVERS:
                return self.serve(name, arguments, seen)
            command = [sys.executable, "-m", "workshop", name, *arguments]
        # In a shell, because other lines have quotes that work in sh and in Windows' cmd.
        run = subprocess.run(
            command,
            shell=not is_ours,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def serve(self, name, arguments, seen):
        usual = "8000" if name == "start" else f"{find_app(arguments[0]).port}"
        if "--port" in arguments:
            usual = arguments[arguments.index("--port") + 1]
        port, options = self.ports[usual], []
        if name == "start":
            options = ["--lab-port", self.ports["8888"], "--no-browser"]
        url = f"http://127.0.0.1:{port}"
        command = ["workshop", name, *arguments, "--port", port, *options]
        server = self.server.enter_context(Server(f"workshop {name}", command, url))
        deadline = time.monotonic() + PATIENCE
        while seen not in server.log_end(1000) or status_of(url) is None:
            server.require_running("stopped")
            assert time.monotonic() < deadline, server.log_end()
            time.sleep(0.1)
        return server.log_end(1000)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A learner's copy, which the first command creates."""
    folder = tmp_path_factory.mktemp("sheets") / "work"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BASE, str(folder))
        patch.setenv("PYTHONUTF8", "1")
        patch.delenv("DATABASE_URL", raising=False)  # stage 06 uses the copy's own database
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("slug", SHEETS)
def test_a_run_sheet_works(slug, context, copy):
    sheet = SHEETS[slug]
    steps = [*sheet["steps"], *sheet["mistake_steps"]]
    if any(step.get("type", "").startswith("curl") for step in steps) and not shutil.which("curl"):
        pytest.skip("the sheet needs curl, which isn't installed here")
    trouble = watch(context)
    context.set_default_timeout(PAGE_PATIENCE)
    stage = find_stage(slug)
    room = Room(context.new_page(), copy)
    with room.server:
        if stage.model and not (copy / "apps" / slug / "model").exists():
            room.perform({"type": f"python3 -m workshop train {stage.code}", "see": "trained on"})
        for step in steps:
            room.perform(step)
    assert [each for each in trouble if "leaves this machine" in each] == []


def test_a_step_that_does_not_work_is_noticed(page, tmp_path):
    page.set_content("<p>Now</p><button onclick=\"document.body.append('Then')\">Go</button>")
    room = Room(page, patience=200)
    room.perform({"press": "Go", "see": "Then"})
    for step, fault in [
        ({"press": "Go", "see": "Never"}, "Never"),
        ({"press": "Go", "see": "Now"}, "was there before"),
        ({"type": "python3 -m workshop train 01", "see": "trained on"}, "printed"),
    ]:
        with pytest.raises(AssertionError, match=fault):
            room.perform(step)
