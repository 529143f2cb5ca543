"""The pages for accounts: register, log in and out, tokens for the API, and away with it all."""

from flask import (
    Blueprint,
    Response,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_wtf import FlaskForm
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as Redirect

from housing_database import Account, ApiToken, open_session
from housing_forms import LoginForm, NameForm, PasswordForm, RegisterForm
from housing_login import (
    TooFast,
    authenticate,
    current_account,
    hash_password,
    log_in,
    login_required,
    new_session_key,
    new_token,
    safe_next,
    username_key,
)
from housing_saved import number_of

MOST_TOKENS = 20
WRONG = "The username or the password is wrong."

accounts = Blueprint("accounts", __name__)
Page = str | tuple[str, int] | Response | Redirect


@accounts.get("/register")
def register() -> Page:
    """The form for a new account."""
    open_session()
    return render_template("register.html", form=RegisterForm(None))


@accounts.post("/register")
def create_account() -> Page:
    """Make the account, and log in at once."""
    opened, form = open_session(), RegisterForm(request.form)
    if not form.validate():
        return render_template("register.html", form=form), 422
    account = Account(
        username=form.username.data,
        username_key=username_key(form.username.data),
        password_hash=hash_password(form.password.data),
        session_key=new_session_key(),
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
    """Log in; or the form again. It says the same whether the username exists or not."""
    form = LoginForm(request.form)
    form.validate()
    found = authenticate(form.username.data or "", form.password.data or "")
    if isinstance(found, TooFast):
        return too_fast(found, "login.html", form)
    if found is None:
        form.password.errors = [WRONG]
        return render_template("login.html", form=form), 422
    log_in(found)
    return redirect(safe_next(url_for("saved.list_page")), 303)


def too_fast(wait: TooFast, template: str, form: FlaskForm) -> Response:
    """Return the form with the request to wait."""
    unit = "second" if wait.seconds == 1 else "seconds"
    form.password.errors = [f"Too many attempts. Wait {wait.seconds} {unit}, then try again."]
    response = make_response(render_template(template, form=form), 429)
    response.headers["Retry-After"] = str(wait.seconds)
    return response


@accounts.post("/logout")
def logout() -> Page:
    """End this session."""
    session.clear()
    flash("You are logged out.")
    return redirect(url_for("index"), 303)


@accounts.get("/account")
@login_required
def account_page() -> Page:
    """What there is in the account, its tokens, and how to end it."""
    return show_account()


def show_account(
    token_form: FlaskForm | None = None, new: str | None = None, status: int = 200
) -> tuple[str, int]:
    account = current_account()
    query = select(ApiToken).where(ApiToken.account_id == account.id).order_by(ApiToken.id)
    return render_template(
        "account.html",
        account=account,
        saved=number_of(account.id),
        tokens=open_session().scalars(query).all(),
        token_form=token_form or NameForm(None),
        new_token=new,
    ), status


@accounts.post("/account/tokens")
@login_required
def create_token() -> Page:
    """Make a token and show it, this once."""
    opened, account, form = open_session(), current_account(), NameForm(request.form)
    if not form.validate():
        return show_account(form, status=422)
    query = select(func.count()).where(ApiToken.account_id == account.id)
    if opened.scalar(query) >= MOST_TOKENS:
        form.name.errors = [f"There are {MOST_TOKENS} tokens already. Revoke one first."]
        return show_account(form, status=422)
    token, digest = new_token()
    opened.add(ApiToken(account_id=account.id, name=form.name.data, digest=digest))
    try:
        opened.commit()
    except IntegrityError:  # the account was deleted at this moment, in another browser
        opened.rollback()
        session.clear()
        return redirect(url_for("accounts.login"), 303)
    return show_account(new=token, status=201)


@accounts.post("/account/tokens/<number>/revoke")
@login_required
def revoke_token(number: str) -> Page:
    """Delete a token: it opens nothing any more."""
    opened = open_session()
    mine = ApiToken.account_id == current_account().id
    found = next(
        (t for t in opened.scalars(select(ApiToken).where(mine)) if str(t.id) == number), None
    )
    if found is None:
        raise NotFound
    name = found.name
    opened.execute(delete(ApiToken).where(ApiToken.id == found.id, mine))
    opened.commit()
    flash(f"Revoked the token “{name}”.")
    return redirect(url_for("accounts.account_page"), 303)


@accounts.post("/account/logout-everywhere")
@login_required
def logout_everywhere() -> Page:
    """End every session of the account, this one included."""
    opened = open_session()
    mine = Account.id == current_account().id
    opened.execute(update(Account).where(mine).values(session_key=new_session_key()))
    opened.commit()
    session.clear()
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
    """Delete the account; the database deletes its predictions and tokens along with it."""
    opened, account, form = open_session(), current_account(), PasswordForm(request.form)
    form.validate()
    name = account.username
    found = authenticate(name, form.password.data or "")
    if isinstance(found, TooFast):
        return too_fast(found, "delete_account.html", form)
    if found is None:
        form.password.errors = ["The password is wrong."]
        return render_template("delete_account.html", form=form), 422
    opened.execute(delete(Account).where(Account.id == found.id))
    opened.commit()
    session.clear()
    flash(f"The account {name} is deleted, and everything in it.")
    return redirect(url_for("index"), 303)
