"""The browser tests notice what goes wrong in a page."""

import pytest
from browser_support import watch

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
