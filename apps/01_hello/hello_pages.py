"""Pages made of Python strings. Stage 02 makes pages with templates."""

from flask import request, url_for
from markupsafe import escape

# What people are told instead of the standard's own words, by status code.
TITLES = {404: "There is no page here", 500: "This page broke"}
ADVICE = {
    404: "Look for a typing mistake in the address, or start again from the list of all pages.",
    500: "The fault is in the app, not in what you did. Its log, where it runs, has the reason.",
}
# Where else the server leads, if it says so: its keys in a request's environment, and a link's text.
WAYS = {"workshop.gallery_url": "All stages", "workshop.notebook_url": "Notebook of this stage"}


def page(title: str, text: str = "", links: list[str] | None = None) -> str:
    """Return a whole HTML page, with links to the start page and to where else the server leads.

    Everything in it is escaped: whatever it is, a browser shows it and runs none of it.
    """
    title, text = escape(title), escape(text)
    # Each link is a paragraph of its own: a finger needs the space between them.
    items = (f'<li><p><a href="{escape(link)}">{escape(link)}</a></p></li>' for link in links or [])
    ways = {} if request.endpoint == "index" else {url_for("index"): "All pages of this app"}
    ways |= {request.environ[key]: text for key, text in WAYS.items() if key in request.environ}
    ways_out = " · ".join(f'<a href="{escape(url)}">{text}</a>' for url, text in ways.items())
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" type="image/svg+xml" href="{url_for("static", filename="icon.svg")}">
<main>
<h1>{title}</h1>
{f"<p>{text}</p>" if text else ""}
{f"<ul>{''.join(items)}</ul>" if links else ""}
{f"<p>{ways_out}</p>" if ways else ""}
</main>
</html>
"""
