"""Pages built from Python strings. Stage 02 uses templates instead."""

from flask import request, url_for
from markupsafe import escape

# Friendlier words than the HTTP standard's, by status code.
TITLES = {404: "There is no page here", 500: "This page broke"}
ADVICE = {
    404: "Check the address for typos, or start again from the list of all pages.",
    500: "Something went wrong in the app, not in what you sent. The terminal where it runs says what.",
}
# Links that the server may add: the key of each address in the request's environment, and its text.
WAYS = {"workshop.gallery_url": "All stages", "workshop.notebook_url": "Notebook of this stage"}


def page(title: str, text: str = "", links: list[str] | None = None) -> str:
    """Return a complete HTML page, with links to the start page and those that the server adds.

    All values are escaped, so a browser shows them and never runs them.
    """
    title, text = escape(title), escape(text)
    # Each link is in its own paragraph: a finger needs the space between them.
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
