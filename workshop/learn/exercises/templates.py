"""The checks of stage 02: two templates, a new page in the app, and a broken app to fix."""

from html.parser import HTMLParser

from jinja2 import Environment, StrictUndefined, TemplateSyntaxError, UndefinedError

from workshop.learn.exercises import ChangedApp, NotYet, Wrong, ask_small_app, exercise
from workshop.learn.exercises.slips import jinja_remedy

SEATS_RULE = "/seats/<int:count>"
SORTED = "In a template, a filter comes after the value and a vertical bar: `names|sort`."
UNESCAPED = "a hostile name gets into the page unescaped, and runs. Leave out `safe`."
HOSTILE = '<script>alert("boo")</script>'


class TextOf(HTMLParser):
    """Collects the text of every element with one tag."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self.tag = tag
        self.is_inside = False
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == self.tag:
            self.is_inside = True
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.tag:
            self.is_inside = False

    def handle_data(self, data: str) -> None:
        if self.is_inside:
            self.texts[-1] += data


def texts_of(tag: str, html: str) -> list[str]:
    """Return the text of every `tag` element in `html`, with single spaces, from first to last."""
    parser = TextOf(tag)
    parser.feed(html)
    parser.close()
    return [" ".join(text.split()) for text in parser.texts]


def syntax_hint(error: TemplateSyntaxError, template: str) -> str:
    """Return a sentence on what Jinja can't read in a template, and where."""
    line = "".join(template.splitlines()[error.lineno - 1 : error.lineno])
    message = error.message.rstrip(".")
    remedy = jinja_remedy(error.message, line)
    return f"Jinja stops at line {error.lineno} of your template: {message}. {remedy}".rstrip()


def render(template: object, **values: object) -> str:
    """Return the rendered template, with `values` escaped as in Flask. Raises `Wrong` if it fails."""
    if not isinstance(template, str):
        raise Wrong('the answer is a template: a string in quotes, such as `"<h2>Hello</h2>"`.')
    try:
        page = Environment(autoescape=True, undefined=StrictUndefined).from_string(template)
        return page.render(values)
    except TemplateSyntaxError as error:
        raise Wrong(syntax_hint(error, template)) from None
    except TypeError:
        if "names.sort" not in template:
            raise
        raise Wrong(
            f"`names.sort()` sorts, but doesn't return anything to loop over. {SORTED}"
        ) from None
    except UndefinedError as error:
        if "'sort' is undefined" in error.message:
            raise Wrong(SORTED) from None
        names = " and ".join(f"`{name}`" for name in values)
        raise Wrong(f"Jinja says: {error.message}. The template gets {names}.") from None


@exercise(
    "02.1",
    hint="the cells of “What is a template?” show how to leave a gap in a page. Replace the dots with a "
    "template in quotes.",
    then="a second-level heading is `<h2>...</h2>`, and the gap for the name is `{{ name }}`. "
    "It's a plain string: Jinja fills the gap, not Python, so don't put an `f` before the quotes.",
)
def greeting(answer: object) -> str:
    """A template that greets the visitor in a second-level heading."""
    pages = {name: render(answer, name=name) for name in ("Ada", "Grace", HOSTILE)}
    if pages["Ada"] == pages["Grace"]:
        if "{name}" in pages["Ada"]:
            raise Wrong(
                "Jinja's gaps have two braces on each side, `{{ name }}`, and no `f` before the quotes."
            )
        if "{ name }" in pages["Ada"]:
            raise Wrong(
                "Jinja got `{ name }`, with one brace on each side. If you typed two, remove the `f` "
                "before the quotes: it turns two braces into one."
            )
        raise Wrong(
            "the page is the same for Ada and for Grace. Make a gap, `{{ name }}`, in a string without an "
            "`f` before the quotes: Jinja fills it, not Python."
        )
    if not texts_of("h2", pages["Ada"]):
        raise Wrong("there is no second-level heading. Write it between `<h2>` and `</h2>`.")
    if HOSTILE in pages[HOSTILE]:
        raise Wrong(UNESCAPED)
    found = texts_of("h2", pages["Ada"])
    if found != ["Hello, Ada!"]:
        raise Wrong(f"for Ada, the heading must be 'Hello, Ada!', but it is {found[0]!r}.")
    return "the greeting works for everyone, and a hostile name does no harm."


@exercise(
    "02.2",
    hint="start from the template `LIST` above; “How do you format a value?” shows how to sort.",
    then="copy `LIST` into `answer`. Add the filter `sort` to `names` where the loop begins, and "
    "change what comes after `else`.",
)
def guest_list(answer: object) -> str:
    """A template that lists names in alphabetical order, or says that there are none."""
    guests = ["Grace", "Ada", "Katherine"]
    if isinstance(answer, str) and "sorted(" in answer:
        raise Wrong("Jinja has no `sorted`. It has a filter for that: use `names|sort`.")
    page = render(answer, names=guests)
    found = texts_of("li", page)
    if not found:
        raise Wrong("there are no entries in the list. Write each name between `<li>` and `</li>`.")
    if len(found) == 1:
        raise Wrong(
            f"there are three names, but the page has one entry: {found[0]!r}. Put the "
            "entry inside the loop, between `{% for name in names %}` and `{% else %}`."
        )
    if found in ([str(guests)] * 3, [str(sorted(guests))] * 3):
        raise Wrong("each entry shows the whole list. Inside the loop use `{{ name }}`, without s.")
    if found == guests:
        raise Wrong("the names are in their original order. Sort them with a filter: `names|sort`.")
    if found == sorted(guests, reverse=True):
        raise Wrong("the names go from Z to A. Without an argument, `sort` goes from A to Z.")
    if found != sorted(guests):
        raise Wrong(f"the entries must be Ada, Grace, Katherine, but they are {', '.join(found)}.")
    if HOSTILE in render(answer, names=[HOSTILE]):
        raise Wrong(UNESCAPED)
    page = render(answer, names=[])
    empty = texts_of("li", page)
    if not empty and "No guests yet" in page:
        raise Wrong(
            "with no names, the text isn't an entry in the list. Put it between `<li>` and `</li>`."
        )
    if not empty:
        raise Wrong(
            "with no names, the list is empty. Put the text for that case after `{% else %}`."
        )
    if empty != ["No guests yet"]:
        raise Wrong(f"with no names, the entry must be 'No guests yet', but it is {empty[0]!r}.")
    return "the list is in order, and if nobody is on it, it tells the reader."


@exercise(
    "02.3",
    hint="three steps: the template `templates/seats.html`, the route and its view in `app.py`, "
    "and a card in `templates/index.html`. Start with the first two, and run this cell again.",
    then="`templates/extend.html` shows how a page gets the frame, and `condition.html` shows an "
    "`if`. The view passes the number by name, as `count=count`.",
    app="templates",
)
def seats_page(app: ChangedApp) -> str:
    """The app with one more page, which says how many seats are left, and a card that leads to it."""
    if "seats.html" in app.source("app.py") and not app.source("templates/seats.html"):
        raise Wrong(
            "your view renders `seats.html`, but there is no such file yet, or it is empty. It belongs in "
            "the folder `templates`."
        )
    for count, wanted in ((3, "3 seats left"), (0, "Sold out"), (1, "1 seat left")):
        address = f"/seats/{count}"
        page = app.get_added(address, SEATS_RULE).text
        if "<nav" not in page:
            raise Wrong(
                f"{address} has no frame: the navigation bar is missing. Start the template "
                'with `{% extends "base.html" %}`.'
            )
        headings = texts_of("h1", page)
        if not headings and wanted in " ".join(page.split()):
            raise Wrong(
                f"{address} says {wanted!r}, but not in its main heading: write it between `<h1>` "
                "and `</h1>`."
            )
        if not headings:
            raise Wrong(
                f"{address} shows no `<h1>`. A page's own content must be in a block of base.html: "
                "`{% block main %}`."
            )
        if headings == ["seats left"]:
            raise Wrong(
                f"{address} shows no number. The view passes it by name: "
                '`render_template("seats.html", count=count)`.'
            )
        if headings != [wanted]:
            raise Wrong(f"{address} must say {wanted!r}, but it says {', '.join(headings)!r}.")
    if 'href="/seats/3"' not in app.get("/").text:
        raise Wrong(
            "the page is right, but nobody can find it yet: add a card for /seats/3 to the start page. In "
            "`templates/index.html`, copy a line with `card`, and make its first value "
            '`url_for("seats", count=3)`.'
        )
    return "your page has the frame of all the others, gets the grammar right, and can be found."


@exercise(
    "02.4",
    hint="the heading says 0 guests: the template's list is empty.",
    then="which name does the template use for the list, and which names does the view's last line pass on?",
)
def small_guest_app(answer: object) -> str:
    """A small app that had two mistakes: a name that the view doesn't pass on, and one in the loop."""
    for names in (["Ada", "Grace"], ["Ada", "Grace", HOSTILE.replace(",", "")]):
        reply = ask_small_app(answer, "GET", "/guests", query_string={"names": ",".join(names)})
        [heading, *_] = texts_of("h1", reply.text) or [""]
        if heading == "0 guests":
            raise NotYet
        if heading != f"{len(names)} guests":
            raise Wrong(f"for {len(names)} names, the heading says {heading!r}.")
        entries = texts_of("li", reply.text)
        if not any(entries):
            raise Wrong(
                f"the list has {len(entries)} entries, but they are empty. What does the loop call each "
                "guest, and which name is between the braces in the entry?"
            )
        if HOSTILE in reply.text:
            raise Wrong(UNESCAPED)
        if entries != names:
            raise Wrong(f"the list must be {', '.join(names)}, but it is {', '.join(entries)}.")
    return "both mistakes are fixed. Jinja shows nothing where a name is missing, so compare the names first."
