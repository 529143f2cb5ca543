"""Hostile text in every field of every form, in every address, and in everything that is saved.

A page must show it as text: it must become no element and no attribute, and no template may run it.
"""

import re
from urllib.parse import quote, urlsplit

import pytest
from app_support import PROBLEM, SLUGS, Page, make, submit
from housing_support import BERKELEY, PASSWORD, join
from yours_support import fit, plain_rows, write

# These try to leave text, an attribute with either quote, a title, a text area and a comment, or to run.
HOSTILE = [
    "<zz onzz=1>{{ 7 * 1111111 }}{% zz %}",
    '" onzz=1 x="\'><zz>',
    "' onzz=1 x='\"><zz>",
    "--></title></textarea></option></script><zz onzz='1'>",
    "javascript:zz()",
]
FORMS = {"02_templates": ["/list", "/condition"], "06_housing": ["/", "/register", "/login"]}


def assert_only_text(answer, path):
    """Assert that hostile text is only text in the response; return the page, or None for JSON and CSV."""
    if answer.mimetype != "text/html":
        assert answer.mimetype in ("application/json", PROBLEM, "text/csv"), path
        return None
    page = Page(answer)
    for tag, attributes in page.elements:
        assert not [name for name in (tag, *attributes) if name.startswith(("zz", "onzz"))], path
    assert not [link for link in page.links if link.startswith("javascript:")], path
    assert "7777777" not in answer.text, f"{path}: a template ran what was typed"
    return page


def assert_forms_escape(client, path, fills=None):
    """Send hostile text with every form of a page, in each field and in all fields."""
    forms = Page(client.get(path)).forms
    assert forms, path
    for given, fields in forms:
        target, method = urlsplit(given.get("action") or path).path, given.get("method", "get")
        good = {name: (fills or {}).get(name, value) for name, value in fields.items()}
        for text in HOSTILE:
            for changed in [*([name] for name in fields), list(fields)]:
                values = good | dict.fromkeys(changed, text)
                sent = {"query_string" if method == "get" else "data": values}
                answer = client.open(target, method=method, **sent)
                assert answer.status_code < 500
                if answer.status_code != 303:
                    assert_only_text(answer, target)


def shows(page, text):
    """Return whether a page shows the text as it was typed."""
    return " ".join(text.split()) in page.text


def test_no_address_adds_markup_to_a_page(apps, slug, client):
    rules = {rule.rule for rule in apps[slug].url_map.iter_rules()} | {"/<nothing>"}
    for rule in {rule for rule in rules if not rule.startswith(("/openapi/", "/static/"))}:
        for text in HOSTILE:
            path = re.sub(r"<[^>]+>", quote(text, safe=""), rule)
            query = dict.fromkeys((text, "next", "sort", "names", "day"), text)
            for method in ("GET", "POST"):
                assert_only_text(client.open(path, method=method, query_string=query), path)


@pytest.mark.parametrize("slug", [slug for slug in SLUGS if slug != "01_hello"])
def test_no_field_adds_markup_to_a_page(slug, client):
    for path in FORMS.get(slug, ["/"]):
        assert_forms_escape(client, path, {"password": PASSWORD})


def test_what_an_account_saves_is_shown_and_never_run(apps):
    browser = join(apps["06_housing"], "zoe").browser
    for text in HOSTILE:
        named = browser.post("/account/tokens", data={"name": text})
        assert_only_text(named, "/account/tokens")
        assert browser.post("/saved", data=BERKELEY | {"name": text}).status_code == 303
        links = sorted(Page(browser.get("/saved")).links)
        newest = next(link for link in links if re.fullmatch(r"/saved/\d+", link))
        for path in ("/saved", newest, "/account", "/account/delete", "/", "/model"):
            page = assert_only_text(browser.get(path), path)
            assert path not in ("/saved", "/account") or shows(page, text), path
    for path in (newest, f"{newest}/delete", "/account"):
        assert_forms_escape(browser, path, BERKELEY | {"name": "x"})


def test_the_names_and_words_of_a_table_are_never_markup(tmp_path):
    rows = [[x, f"<zz>{c}'\"</zz>", y, f"<zz>{k}"] for x, y, c, k in plain_rows(80)]
    path = write(tmp_path / "t.csv", HOSTILE[:4], rows)
    fit(path, HOSTILE[3], tmp_path / "model", kind="linear")
    client = make("07_yours", tmp_path, tmp_path / "model").test_client()
    for page in ("/", "/model"):
        assert shows(assert_only_text(client.get(page), page), HOSTILE[0])
    assert_only_text(client.get("/docs"), "/docs")
    answer = submit("07_yours", client)
    assert shows(assert_only_text(answer, "/predict"), "<zz>big")
    assert_forms_escape(client, "/")
