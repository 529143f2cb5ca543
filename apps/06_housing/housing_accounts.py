"""The account pages: register, log in and out, change the password, make API tokens, delete the account."""

import secrets
from datetime import timedelta

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue as Page
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import NotFound, TooManyRequests

from housing_database import Account, ApiToken, LoginSession, hold, now, open_session
from housing_forms import LoginForm, NewPasswordForm, PasswordForm, RegisterForm, TokenForm
from housing_login import (
    authenticate,
    current_account,
    digest,
    hash_password,
    limit_registrations,
    log_in,
    log_out,
    login_required,
    safe_next,
)
from housing_saved import number_of

MOST_TOKENS = 20
TOKEN_PREFIX = "housing_"  # noqa: S105 (so that anyone who finds a token sees what it opens)

accounts = Blueprint("accounts", __name__)


@accounts.route("/register", methods=["GET", "POST"])
@limit_registrations
def register() -> Page:
    """The form for a new account; it logs in right away."""
    opened, form = open_session(), RegisterForm(request.form)
    if form.validate_on_submit():
        name, hashed = form.username.data, hash_password(form.password.data)
        account = Account(username=name, password_hash=hashed)
        opened.add(account)
        try:
            opened.commit()
        except IntegrityError:  # checking first is no use: another request may come in between
            opened.rollback()
            form.username.errors = ["This username is taken. Choose another one."]
        else:
            log_in(account)
            flash(f"Welcome, {name}. Your account is ready, and you are logged in.")
            return redirect(safe_next(url_for("index")), 303)
    return render_template("register.html", form=form), 422 if form.errors else 200


@accounts.route("/login", methods=["GET", "POST"])
def login() -> Page:
    """The form to log in. It says the same whether the username exists or not."""
    open_session()
    form = LoginForm(request.form)
    wrong = "The username or the password is wrong."
    if account := check_password(form.username.data or "", form, wrong):
        log_in(account)
        return redirect(safe_next(url_for("saved.list_page")), 303)
    return render_template("login.html", form=form), *form.status


def check_password(username: str, form: PasswordForm, wrong: str) -> Account | None:
    """Return the account that the form's password opens.

    If there is none, the form has the reason; return it with a status and headers.
    """
    if form.validate_on_submit():
        try:
            if account := authenticate(username, form.password.data or ""):
                return account
            form.password.errors, form.status = [wrong], (422,)
        except TooManyRequests as wait:
            form.password.errors = [wait.description]
            form.status = 429, {"Retry-After": str(wait.retry_after)}
    elif form.errors:
        form.status = (422,)
    return None


@accounts.post("/logout")
def logout() -> Page:
    """End this session."""
    log_out()
    flash("You are logged out.")
    return redirect(url_for("index"), 303)


@accounts.get("/account")
@login_required
def account_page(form: TokenForm | None = None, new: str | None = None) -> str:
    """What is in the account, its tokens, and how to delete it.

    With the `form` if a token's name was refused, or with a `new` token, which is shown only this once.
    """
    account = current_account()
    return render_template(
        "account.html",
        account=account,
        saved=number_of(account.id),
        tokens=tokens_of(account),
        now=now(),
        token_form=form or TokenForm(None),
        new_token=new,
    )


def tokens_of(account: Account) -> list[ApiToken]:
    """Return the account's tokens, the oldest first."""
    query = select(ApiToken).where(ApiToken.account_id == account.id).order_by(ApiToken.id)
    return list(open_session().scalars(query))


def say_what_stays(tokens: list[ApiToken]) -> None:
    """Say which tokens still open the API after sessions were ended, so that nobody has to guess."""
    if names := ", ".join(f"“{token.name}”" for token in tokens):
        flash(f"Tokens still open the API until you revoke them: {names}.")


@accounts.post("/account/tokens")
@login_required
def create_token() -> Page:
    """Make a token and show it, only this once."""
    opened, account, form = open_session(), current_account(), TokenForm(request.form)
    if not form.validate():
        return account_page(form=form), 422
    hold(account.id)
    if len(tokens_of(account)) >= MOST_TOKENS:
        form.name.errors = [f"There are {MOST_TOKENS} tokens already. Revoke one first."]
        return account_page(form=form), 422
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    made = ApiToken(account_id=account.id, name=form.name.data, digest=digest(token))
    if form.days.data:
        made.expires = now() + timedelta(days=int(form.days.data))
    opened.add(made)
    opened.commit()
    return account_page(new=token), 201


@accounts.post("/account/tokens/<number>/revoke")
@login_required
def revoke_token(number: str) -> Page:
    """Delete a token; from now on it opens nothing."""
    opened = open_session()
    mine = tokens_of(current_account())
    found = next((token for token in mine if str(token.id) == number), None)
    if found is None:
        raise NotFound
    opened.execute(delete(ApiToken).where(ApiToken.id == found.id))
    opened.commit()
    flash(f"Revoked the token “{found.name}”.")
    return redirect(url_for("accounts.account_page"), 303)


@accounts.post("/account/logout-everywhere")
@login_required
def logout_everywhere() -> Page:
    """End every session of the account, this one included."""
    tokens = tokens_of(current_account())
    log_out(everywhere=True)
    flash("You are logged out on every device.")
    say_what_stays(tokens)
    return redirect(url_for("index"), 303)


@accounts.route("/account/password", methods=["GET", "POST"])
@login_required
def change_password() -> Page:
    """Ask for the password and a new one. The change ends every other session."""
    opened, account = open_session(), current_account()
    form = NewPasswordForm(request.form, account.username)
    if not check_password(account.username, form, "The password is wrong."):
        return render_template("password.html", form=form, tokens=tokens_of(account)), *form.status
    account.password_hash = hash_password(form.new.data)
    opened.execute(delete(LoginSession).where(LoginSession.account_id == account.id))
    log_in(account)
    flash("Your password is changed, and you are logged out on every other device.")
    say_what_stays(tokens_of(account))
    return redirect(url_for("accounts.account_page"), 303)


@accounts.route("/account/delete", methods=["GET", "POST"])
@login_required
def delete_account() -> Page:
    """Ask for the password; the database deletes the predictions, tokens and sessions too."""
    opened, form, name = open_session(), PasswordForm(request.form), current_account().username
    if account := check_password(name, form, "The password is wrong."):
        opened.execute(delete(Account).where(Account.id == account.id))
        opened.commit()
        session.clear()
        flash(f"The account {name} is deleted, and everything in it.")
        return redirect(url_for("index"), 303)
    return render_template("delete_account.html", form=form), *form.status
