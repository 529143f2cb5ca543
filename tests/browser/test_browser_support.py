"""The browser tests notice what goes wrong in a page, and explain what happens without a browser."""

import os
import subprocess
import sys

import pytest
from browser_support import watch

from workshop.setup.process import ROOT

FAULTS = {
    '<img src="http://elsewhere.invalid/a.png" alt="">': "leaves this machine: http://elsewhere",
    "<script>new WebSocket('ws://elsewhere.invalid/')</script>": "leaves this machine: ws://elsewhere",
    "<script>console.error('told')</script>": "console: told",
    "<script>throw new Error('thrown')</script>": "script: thrown",
}


@pytest.mark.parametrize("body", FAULTS)
def test_what_goes_wrong_in_a_page_is_noticed(context, body):
    trouble = watch(context)
    page = context.new_page()
    page.set_content(body)
    page.wait_for_timeout(200)
    assert FAULTS[body] in str(trouble)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("required", "status", "told"),
    [("", 0, "skipped"), ("1", 1, "WORKSHOP_REQUIRE_BROWSER=1, but")],
)
def test_without_a_browser_tests_are_skipped_or_fail_with_the_reason(required, status, told):
    without = {"WORKSHOP_BROWSER": str(ROOT / "none"), "WORKSHOP_REQUIRE_BROWSER": required}
    options = ["-n0", "-p", "no:cacheprovider", "-k", "test_what_goes_wrong"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", __file__, *options],
        cwd=ROOT,
        env=os.environ | without,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    assert run.returncode == status, run.stdout
    assert told in run.stdout
    assert "none does not start" in run.stdout
