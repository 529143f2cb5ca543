"""Pages made of Python strings. Stage 02 makes pages with templates."""

from flask import request, url_for
from markupsafe import escape

# What people are told instead of the standard's own words, by status code.
TITLES = {404: "There is no page here", 500: "This page broke"}
ADVICE = {
    404: "Look for a typing mistake in the address, or start again from the list of all pages.",
    500: "The fault is in the app, not in what you did. Its log, where it runs, has the reason.",
}


def page(title: str, text: str = "", links: list[str] | None = None) -> str:
    """Return a whole HTML page, with a link to the start page unless it is the start page.

    Everything in it is escaped: whatever it is, a browser shows it and runs none of it.
    """
    title, text = escape(title), escape(text)
    items = "".join(f'<li><a href="{escape(link)}">{escape(link)}</a></li>' for link in links or [])
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
