"""Saved predictions: functions for the pages and the API, then the pages.

Each function takes the id of the account that asks, and sees no other rows: for it, another account's
row doesn't exist.
"""

import csv
import io
import re
from dataclasses import asdict
from typing import Any

from flask import (
    Blueprint,
    Response,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue as Page
from sqlalchemy import Select, delete, func, select, update
from werkzeug.exceptions import Conflict, NotFound

from housing_database import UNKNOWN, SavedPrediction, hold, open_session
from housing_forms import LABELS, NameForm
from housing_login import current_account, login_required
from housing_model import FEATURES, HousingModel
from housing_picture import california

MOST_SAVED = 2000  # in one account
LARGEST_ID = 2**31 - 1  # no row's id is larger than its column can hold
SORTS = {
    "name": lambda saved: saved.name.casefold(),
    "price": lambda saved: saved.price_usd,
    "created": lambda saved: saved.created,
}
NEWEST_FIRST = "-created"
PRICES = ["price_usd", "low_usd", "high_usd", "model_version"]
# What makes a spreadsheet run a cell as a formula, wherever a cell may begin: in some countries
# spreadsheets use other separators than a comma. The wide and small forms occur in Chinese and Japanese.
RUNS = re.compile('(^|[;|\t\r\n])(?=[\\s"]*[=+@＝＋＠﹦﹢﹫−－﹣-])')


def mine(account_id: int) -> Select:
    """Return the query for an account's rows, the oldest first."""
    query = select(SavedPrediction).where(SavedPrediction.account_id == account_id)
    return query.order_by(SavedPrediction.id)


def number_of(account_id: int) -> int:
    """Return how many predictions an account has saved."""
    query = select(func.count()).where(SavedPrediction.account_id == account_id)
    return open_session().scalar(query)


def all_of(account_id: int, sort: str = "created") -> list[SavedPrediction]:
    """Return an account's rows, sorted by one of SORTS; a minus in front reverses the order."""
    found = list(open_session().scalars(mine(account_id)))
    return sorted(found, key=SORTS[sort.removeprefix("-")], reverse=sort.startswith("-"))


def find(account_id: int, text: str) -> SavedPrediction:
    """Return the account's row with the id in a URL. Raises a 404, also for a row of another account."""
    if re.fullmatch("[0-9]{1,10}", text) and int(text) <= LARGEST_ID:
        query = mine(account_id).where(SavedPrediction.id == int(text))
        if found := open_session().scalar(query):
            return found
    raise NotFound


def save(
    account_id: int, name: str, district: dict[str, float], model: HousingModel
) -> SavedPrediction:
    """Predict, save, and return the saved row: once this returns, no crash can lose it.

    Raises a 409 if the account is full, and a 401 if it has just been deleted.
    """
    answer, opened = model.answer(district), open_session()
    hold(account_id)
    if number_of(account_id) >= MOST_SAVED:
        raise Conflict(f"The account is full, with {MOST_SAVED:,} predictions. Delete some first.")
    # The columns have the same names as the answer's fields.
    saved = SavedPrediction(account_id=account_id, name=name, **district, **asdict(answer))
    opened.add(saved)
    opened.commit()
    return saved


def rename(account_id: int, text: str, name: str) -> SavedPrediction:
    """Give an account's row another name, and return it. Raises a 404."""
    found, opened = find(account_id, text), open_session()
    this = update(SavedPrediction).where(SavedPrediction.id == found.id)
    opened.execute(this.values(name=name))
    opened.commit()
    return find(account_id, text)  # unless it was deleted by another request since


def remove(account_id: int, text: str) -> str:
    """Delete an account's row and return the name it had. Raises a 404."""
    found, opened = find(account_id, text), open_session()
    opened.execute(delete(SavedPrediction).where(SavedPrediction.id == found.id))
    opened.commit()
    return found.name


def district_of(saved: SavedPrediction) -> dict[str, float]:
    """Return the district of a row."""
    return {name: getattr(saved, name) for name in FEATURES}


def moment(saved: SavedPrediction) -> str | None:
    """Return when a row was created: UTC, ISO 8601. None if the database's date can't be read."""
    return None if saved.created == UNKNOWN else f"{saved.created.isoformat()}Z"


def as_json(saved: SavedPrediction) -> dict[str, Any]:
    """Return a row the way the API gives it."""
    return {
        "id": saved.id,
        "name": saved.name,
        "district": district_of(saved),
        "price_usd": saved.price_usd,
        "interval_usd": [saved.low_usd, saved.high_usd],
        "created": moment(saved),
    }


def as_csv(rows: list[SavedPrediction]) -> str:
    """Return rows as a table that is safe to open; the first line names the columns."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["id", "name", *FEATURES, *PRICES, "created"])
    for row in rows:
        numbers = [getattr(row, column) for column in (*FEATURES, *PRICES)]
        writer.writerow([row.id, RUNS.sub(r"\1'", row.name), *numbers, moment(row)])
    return buffer.getvalue()


# The pages. Saving a prediction is in `app.py`, with the page that shows the prediction.

pages = Blueprint("saved", __name__, url_prefix="/saved")


@pages.get("")
@login_required
def list_page() -> Page:
    """The list, sorted as `?sort=` says."""
    sort = request.args.get("sort", NEWEST_FIRST)
    sort = sort if sort.removeprefix("-") in SORTS else NEWEST_FIRST
    return render_template("saved.html", rows=all_of(current_account().id, sort), sort=sort)


@pages.get("/download.csv")
@login_required
def download() -> Page:
    """All of them as a file for a spreadsheet."""
    headers = {"Content-Disposition": 'attachment; filename="saved-predictions.csv"'}
    rows = all_of(current_account().id)
    return Response(as_csv(rows), content_type="text/csv; charset=utf-8", headers=headers)


@pages.route("/<number>", methods=["GET", "POST"])
@login_required
def one_page(number: str) -> Page:
    """One of them, with its map and the form to rename it."""
    saved = find(current_account().id, number)
    form, district = NameForm(request.form, data={"name": saved.name}), district_of(saved)
    if form.validate_on_submit():
        saved = rename(current_account().id, number, form.name.data)
        flash(f"It is now called “{saved.name}”.")
        return redirect(url_for("saved.list_page"), 303)
    shown = {
        "saved": saved,
        "labels": LABELS,
        "district": district,
        "form": form,
        "map": california(current_app.config["CARD"], district),
    }
    return render_template("saved_one.html", **shown), 422 if form.errors else 200


@pages.route("/<number>/delete", methods=["GET", "POST"])
@login_required
def delete_from_page(number: str) -> Page:
    """Ask whether to delete it, and delete it after the page's button is pressed."""
    if request.method != "POST":
        return render_template("delete_saved.html", saved=find(current_account().id, number))
    name = remove(current_account().id, number)
    flash(f"Deleted “{name}”.")
    return redirect(url_for("saved.list_page"), 303)
