"""Saved predictions: what may be done with them, and the pages that do it.

Pages and API share the functions of the first part. Each takes the id of the account that asks, and
knows no other rows: what belongs to somebody else is as good as not there.
"""

import csv
import io
import json
import re
from datetime import UTC
from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as Redirect

from housing_artifact import ModelFile
from housing_database import SavedPrediction, open_session
from housing_forms import NameForm, SaveForm
from housing_login import current_account, login_required
from housing_model import FEATURES, HousingModel
from housing_picture import california
from housing_problems import Refusal

MOST_SAVED = 2000  # in one account
LARGEST_ID = 2**31 - 1  # more than a column of the database holds can be no row's id
SORTS = {
    "name": lambda saved: saved.name.casefold(),
    "price": lambda saved: saved.price_usd,
    "created": lambda saved: saved.created,
}
NEWEST_FIRST = "-created"


def mine(account_id: int) -> Select:
    """Return the query for an account's rows, the oldest first."""
    query = select(SavedPrediction).where(SavedPrediction.account_id == account_id)
    return query.order_by(SavedPrediction.id)


def number_of(account_id: int) -> int:
    """Return how many predictions an account has saved."""
    return open_session().scalar(
        select(func.count()).where(SavedPrediction.account_id == account_id)
    )


def all_of(account_id: int, sort: str = "created") -> list[SavedPrediction]:
    """Return an account's rows by one of SORTS, downwards where a minus stands before it."""
    found = list(open_session().scalars(mine(account_id)))
    return sorted(found, key=SORTS[sort.removeprefix("-")], reverse=sort.startswith("-"))


def row_id(text: str) -> int:
    """Return the id in an address. Raises a 404 for a text that can be none."""
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > LARGEST_ID:
        raise NotFound
    return int(text)


def find(account_id: int, text: str) -> SavedPrediction:
    """Return the account's row of this id. Raises a 404, also for the row of another account."""
    query = mine(account_id).where(SavedPrediction.id == row_id(text))
    found = open_session().scalar(query)
    if found is None:
        raise NotFound
    return found


def save(
    account_id: int, name: str, district: dict[str, float], model: HousingModel
) -> SavedPrediction:
    """Ask the model, and return the saved row: once this returns, no crash can lose it.

    Raises a 409 for a full account, and a 401 for one that was deleted at this moment.
    """
    answer = model.predict(district)
    if number_of(account_id) >= MOST_SAVED:
        raise Refusal(409, f"The account holds {MOST_SAVED:,} predictions. Delete some first.")
    saved = SavedPrediction(
        account_id=account_id,
        name=name,
        **district,
        price_usd=answer.price_usd,
        low_usd=answer.low_usd,
        high_usd=answer.high_usd,
        model_version=answer.model_version,
    )
    opened = open_session()
    opened.add(saved)
    try:
        opened.commit()
    except IntegrityError:
        opened.rollback()
        raise Refusal(401, "The account is no longer there.") from None
    return saved


def rename(account_id: int, text: str, name: str) -> SavedPrediction:
    """Give an account's row another name, and return it."""
    found, opened = find(account_id, text), open_session()
    changed = opened.execute(
        update(SavedPrediction).where(SavedPrediction.id == found.id).values(name=name)
    )
    opened.commit()
    if not changed.rowcount:  # deleted by another request since `find`
        raise NotFound
    return find(account_id, text)


def remove(account_id: int, text: str) -> str:
    """Delete an account's row and return the name it had."""
    found, opened = find(account_id, text), open_session()
    name = found.name
    opened.execute(delete(SavedPrediction).where(SavedPrediction.id == found.id))
    opened.commit()
    return name


def district_of(saved: SavedPrediction) -> dict[str, float]:
    """Return the district of a row."""
    return {name: getattr(saved, name) for name in FEATURES}


def moment(saved: SavedPrediction) -> str:
    """Return when a row was made: UTC, ISO 8601."""
    return saved.created.astimezone(UTC).isoformat().replace("+00:00", "Z")


def as_json(saved: SavedPrediction) -> dict[str, Any]:
    """Return a row as the API gives it."""
    return {
        "id": saved.id,
        "name": saved.name,
        "district": district_of(saved),
        "price_usd": saved.price_usd,
        "interval_usd": [saved.low_usd, saved.high_usd],
        "created": moment(saved),
    }


def as_csv(rows: list[SavedPrediction]) -> str:
    """Return rows as a table, the first line naming the columns."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(
        ["id", "name", *FEATURES, "price_usd", "low_usd", "high_usd", "model_version", "created"]
    )
    for row in rows:
        # Spreadsheets take a text that starts like this for a formula, and run it.
        name = f"'{row.name}" if row.name.startswith(("=", "+", "-", "@")) else row.name
        prices = [row.price_usd, row.low_usd, row.high_usd]
        district = district_of(row).values()
        writer.writerow([row.id, name, *district, *prices, row.model_version, moment(row)])
    return buffer.getvalue()


# The pages


def create_saved_pages(model_file: ModelFile) -> Blueprint:
    """Return the pages under `/saved`, answered by the model in `model_file`."""
    pages = Blueprint("saved", __name__, url_prefix="/saved")
    Page = str | tuple[str, int] | Response | Redirect

    @pages.get("")
    @login_required
    def list_page() -> Page:
        """The list, sorted by what `?sort=` names."""
        sort = request.args.get("sort", NEWEST_FIRST)
        sort = sort if sort.removeprefix("-") in SORTS else NEWEST_FIRST
        return render_template("saved.html", rows=all_of(current_account().id, sort), sort=sort)

    @pages.post("")
    @login_required
    def save_from_page() -> Page:
        """Keep the answer that the page has shown; or that page again, and what is wrong."""
        model, form = model_file.get(), SaveForm(request.form)
        valid = form.validate()
        if not valid and form.errors.keys() != {"name"}:
            return render_template("index.html", form=form, card=model.card, map=california()), 422
        if valid and form.model_version.data not in ("", None, model.version):
            form.name.errors = [
                "The model has been trained anew: look at its new answer, then save."
            ]
        elif valid:
            try:
                saved = save(current_account().id, form.name.data, form.district, model)
            except Refusal as refusal:
                form.name.errors = [refusal.detail]
            else:
                flash(f"Saved “{saved.name}”.")
                return redirect(url_for("saved.list_page"), 303)
        return render_result(model, form), 422

    @pages.get("/download.csv")
    @login_required
    def download() -> Page:
        """All of them as a file for a spreadsheet."""
        headers = {"Content-Disposition": 'attachment; filename="saved-predictions.csv"'}
        rows = all_of(current_account().id)
        return Response(as_csv(rows), content_type="text/csv; charset=utf-8", headers=headers)

    @pages.get("/<number>")
    @login_required
    def one_page(number: str) -> Page:
        """One of them, with its map and the form to rename it."""
        return show(number, None)

    @pages.post("/<number>")
    @login_required
    def rename_from_page(number: str) -> Page:
        """Rename it."""
        account, form = current_account(), NameForm(request.form)
        if not form.validate():
            return show(number, form), 422
        saved = rename(account.id, number, form.name.data)
        flash(f"It is now called “{saved.name}”.")
        return redirect(url_for("saved.list_page"), 303)

    @pages.post("/<number>/delete")
    @login_required
    def delete_from_page(number: str) -> Page:
        """Delete it."""
        name = remove(current_account().id, number)
        flash(f"Deleted “{name}”.")
        return redirect(url_for("saved.list_page"), 303)

    def show(number: str, form: NameForm | None) -> str:
        saved = find(current_account().id, number)
        return render_template(
            "saved_one.html",
            saved=saved,
            district=district_of(saved),
            form=form or NameForm(None, data={"name": saved.name}),
            map=california(district_of(saved)),
        )

    return pages


def render_result(model: HousingModel, form: SaveForm) -> str:
    """Return the page with the model's answer to a valid form."""
    district = form.district
    form.model_version.data = model.version
    return render_template(
        "result.html",
        form=form,
        district=district,
        answer=model.predict(district),
        card=model.card,
        map=california(district),
        address=url_for("predict", **district),
        question=json.dumps(district),
    )
