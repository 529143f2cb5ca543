"""The pages for accounts: register, log in and out, tokens for the API, and deleting it all."""

import secrets

from flask import (
    Blueprint,
    flash,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as Redirect

from housing_database import Account, ApiToken, hold, open_session
from housing_forms import LoginForm, NameForm, PasswordForm, RegisterForm
from housing_login import (
    REGISTRATIONS,
    TOKEN_PREFIX,
    TooFast,
    authenticate,
    current_account,
    digest,
    hash_password,
    limiter,
    log_in,
    log_out,
    login_required,
    safe_next,
    username_key,
)
from housing_saved import number_of

MOST_TOKENS = 20
WRONG = "The username or the password is wrong."

accounts = Blueprint("accounts", __name__)
Page = str | tuple[str, int] | tuple[str, int, dict[str, str]] | Redirect
Checked = tuple[Account | None, tuple]


@accounts.get("/register")
def register() -> Page:
    """The form for a new account."""
    open_session()
    return render_template("register.html", form=RegisterForm(None))


@accounts.post("/register")
@limiter.limit(REGISTRATIONS, error_message="Too many registrations. Try again in a few minutes.")
def create_account() -> Page:
    """Make the account, and log in right away."""
    opened, form = open_session(), RegisterForm(request.form)
    if not form.validate():
        return render_template("register.html", form=form), 422
    account = Account(
        username=form.username.data,
        username_key=username_key(form.username.data),
        password_hash=hash_password(form.password.data),
    )
    opened.add(account)
    try:
        opened.commit()
    except IntegrityError:  # the table refuses it: a look beforehand could be out of date by now
        opened.rollback()
        form.username.errors = ["This username is taken. Choose another one."]
        return render_template("register.html", form=form), 422
    log_in(account)
    flash(f"Welcome, {account.username}. Your account is ready, and you are logged in.")
    return redirect(safe_next(url_for("index")), 303)


@accounts.get("/login")
def login() -> Page:
    """The form to log in."""
    open_session()
    return render_template("login.html", form=LoginForm(None))


@accounts.post("/login")
def start_session() -> Page:
    """Log in; or show the form again. It says the same whether the username exists or not."""
    form = LoginForm(request.form)
    account, status = check_password(form.username.data or "", form, WRONG)
    if account is None:
        return render_template("login.html", form=form), *status
    log_in(account)
    return redirect(safe_next(url_for("saved.list_page")), 303)


def check_password(username: str, form: LoginForm | PasswordForm, wrong: str) -> Checked:
    """Return the account that the form's password opens. If there is none, the form says why.

    Then there are a status and headers to send it back with.
    """
    form.validate()
    try:
        if account := authenticate(username, form.password.data or ""):
            return account, (200,)
        form.password.errors = [wrong]
        return None, (422,)
    except TooFast as wait:
        unit = "second" if wait.seconds == 1 else "seconds"
        form.password.errors = [f"Too many attempts. Wait {wait.seconds} {unit}, then try again."]
        return None, (429, {"Retry-After": str(wait.seconds)})


@accounts.post("/logout")
def logout() -> Page:
    """End this session."""
    log_out()
    flash("You are logged out.")
    return redirect(url_for("index"), 303)


@accounts.get("/account")
@login_required
def account_page() -> Page:
    """What there is in the account, its tokens, and how to end it."""
    return show_account()


def show_account(form: NameForm | None = None, new: str | None = None, status: int = 200) -> Page:
    """Return the account's page: with a `form` that was refused, or a `new` token."""
    account = current_account()
    query = select(ApiToken).where(ApiToken.account_id == account.id).order_by(ApiToken.id)
    return render_template(
        "account.html",
        account=account,
        saved=number_of(account.id),
        tokens=open_session().scalars(query).all(),
        token_form=form or NameForm(None),
        new_token=new,
    ), status


@accounts.post("/account/tokens")
@login_required
def create_token() -> Page:
    """Make a token and show it, only this once."""
    opened, account, form = open_session(), current_account(), NameForm(request.form)
    if not form.validate():
        return show_account(form, status=422)
    if not hold(account.id):  # deleted at this moment, in another browser
        session.clear()
        return redirect(url_for("accounts.login"), 303)
    query = select(func.count()).where(ApiToken.account_id == account.id)
    if opened.scalar(query) >= MOST_TOKENS:
        form.name.errors = [f"There are {MOST_TOKENS} tokens already. Revoke one first."]
        return show_account(form, status=422)
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    opened.add(ApiToken(account_id=account.id, name=form.name.data, digest=digest(token)))
    opened.commit()
    return show_account(new=token, status=201)


@accounts.post("/account/tokens/<number>/revoke")
@login_required
def revoke_token(number: str) -> Page:
    """Delete a token; from now on it opens nothing."""
    opened = open_session()
    mine = select(ApiToken).where(ApiToken.account_id == current_account().id)
    found = next((token for token in opened.scalars(mine) if str(token.id) == number), None)
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
    log_out(everywhere=True)
    flash("You are logged out on every device.")
    return redirect(url_for("index"), 303)


@accounts.get("/account/delete")
@login_required
def delete_page() -> Page:
    """Ask for the password before everything goes."""
    return render_template("delete_account.html", form=PasswordForm(None))


@accounts.post("/account/delete")
@login_required
def delete_account() -> Page:
    """Delete the account; the database deletes its predictions, tokens and sessions along with it."""
    opened, form, name = open_session(), PasswordForm(request.form), current_account().username
    account, status = check_password(name, form, "The password is wrong.")
    if account is None:
        return render_template("delete_account.html", form=form), *status
    opened.execute(delete(Account).where(Account.id == account.id))
    opened.commit()
    session.clear()
    flash(f"The account {name} is deleted, and everything in it.")
    return redirect(url_for("index"), 303)
