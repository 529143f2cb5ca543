"""Pages made of Python strings, and the answers to errors. Stage 02 makes pages with templates."""

from collections.abc import Sequence

from flask import Response, json, request, url_for
from markupsafe import escape
from werkzeug.exceptions import HTTPException

# What people are told in place of the standard's own words.
FRIENDLY = {
    404: (
        "There is no page here",
        "Look for a typing mistake in the address, or start again from the list of all pages.",
    ),
    500: (
        "This page broke",
        "The fault is in the app, not in what you did. Its log, where it runs, has the reason.",
    ),
}


def page(title: str, text: str = "", links: Sequence[str] = ()) -> str:
    """Return a whole HTML page.

    Everything it is given is escaped: whatever it holds, a browser shows it and runs none of it.
    It ends with a link to the start page, unless it is the start page.
    """
    title, text = escape(title), escape(text)
    items = "".join(f'<li><a href="{escape(link)}">{escape(link)}</a></li>' for link in links)
    is_start = request.endpoint == "index"
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<main>
<h1>{title}</h1>
{f"<p>{text}</p>" if text else ""}
{f"<ul>{items}</ul>" if links else ""}
{"" if is_start else f'<p><a href="{url_for("index")}">All pages of this app</a></p>'}
</main>
</html>
"""


def explain(error: HTTPException) -> Response:
    """Return what went wrong: a page for people, and for the notes JSON, `{"error", "status"}`."""
    response = error.get_response()  # keeps headers such as the Allow of a 405
    if request.path.split("/")[1] == "notes":
        response.data = json.dumps({"error": error.description, "status": error.code})
        response.content_type = "application/json"
    else:
        title, text = FRIENDLY.get(error.code, (error.name, error.description))
        response.data = page(f"{title} ({error.code})", text)
    return response
