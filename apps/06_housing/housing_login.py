"""Who is asking? Passwords, sessions and tokens, and what slows down anyone who guesses.

The session is a cookie that Flask signs with the SECRET_KEY: visitors can read theirs, not change it. It
holds the account's number, and a random key whose hash is in the database. Deleting that row ends the
session, wherever the cookie is.
"""

import hashlib
import ipaddress
import re
import secrets
import time
import unicodedata
from datetime import timedelta
from functools import cache, wraps
from typing import Any

from flask import g, redirect, request, session, url_for
from flask_limiter import Limiter
from limits import parse
from sqlalchemy import delete, or_, select
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized
from werkzeug.security import check_password_hash, generate_password_hash

from housing_database import Account, ApiToken, LoginSession, hold, now, open_session
from housing_forms import tidy_username

TOKEN_PREFIX = "housing_"  # noqa: S105 (so that anyone who finds a token sees what it opens)
SESSION_LASTS = timedelta(days=30)


# Slowing down. Failures are counted for an account and an address together, so nobody can lock somebody
# else out from another address. An address alone has a high limit: a classroom may share one.

GUESSES = parse("5 per 30 seconds")
GUESSES_FROM_ADDRESS = parse("100 per minute")
REGISTRATIONS = "100 per hour"  # from one address


def address() -> str:
    """Return where the request comes from. Anyone with one address of IPv6 has all of its network."""
    try:
        found = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    if found.version == 6:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


# This strategy keeps no deadlines, so a clock that is set back locks nobody out.
limiter = Limiter(address, strategy="sliding-window-counter")


class TooFast(Exception):
    """Somebody tries too often, and has to wait for so many `seconds`."""

    def __init__(self, limit: Any, *who: str) -> None:
        reset = limiter.limiter.get_window_stats(limit, *who).reset_time
        self.seconds = int(max(0, reset - time.time())) + 1


# Passwords


@cache
def nobodys_hash() -> str:
    """Return a hash that no password fits, to check for usernames that don't exist."""
    return generate_password_hash(secrets.token_hex())


def hash_password(password: str) -> str:
    """Return the salted hash to store: scrypt, at Werkzeug's settings."""
    return generate_password_hash(unicodedata.normalize("NFKC", password))


def username_key(username: str) -> str:
    """Return the same text for all spellings of one username. Raises ValueError if it can't be one."""
    return tidy_username(username).casefold()


def authenticate(username: str, password: str) -> Account | None:
    """Return the account that username and password belong to, None if they belong to none.

    Takes as long for a name that nobody has. Raises TooFast.
    """
    try:
        key = username_key(username)
    except ValueError:
        key = ""  # nobody has it, and it is slowed down like any other
    limits = limiter.limiter
    if not limits.test(GUESSES_FROM_ADDRESS, address()):
        raise TooFast(GUESSES_FROM_ADDRESS, address())
    # Counted before the password is checked: of many attempts at the same time, only five get there.
    if not limits.hit(GUESSES, key, address()):
        raise TooFast(GUESSES, key, address())
    account = open_session().scalar(select(Account).where(Account.username_key == key))
    stored = account.password_hash if account else nobodys_hash()
    if check_password_hash(stored, unicodedata.normalize("NFKC", password)) and account:
        limits.clear(GUESSES, key, address())
        return account
    limits.hit(GUESSES_FROM_ADDRESS, address())
    return None


# Sessions


def log_in(account: Account) -> None:
    """Start a session. The one before is thrown away: it may have been somebody else's."""
    session.clear()
    session["account"], session["key"] = account.id, new_session(account.id)
    session["username"] = account.username  # for the menu, which asks no database


def new_session(account_id: int) -> str:
    """Return the key of a new session. It opens nothing if the account has just been deleted."""
    key, opened = secrets.token_hex(16), open_session()
    mine, old = LoginSession.account_id == account_id, LoginSession.created < now() - SESSION_LASTS
    opened.execute(delete(LoginSession).where(mine, old))
    if hold(account_id):
        opened.add(LoginSession(account_id=account_id, digest=digest(key)))
    opened.commit()
    return key


def log_out(*, everywhere: bool = False) -> None:
    """End the session of this browser, or every session of its account."""
    try:
        if account := current_account():
            these = [LoginSession.account_id == account.id]
            if not everywhere:
                these.append(LoginSession.digest == digest(session["key"]))
            open_session().execute(delete(LoginSession).where(*these))
            open_session().commit()
    finally:
        session.clear()


def current_account() -> Account | None:
    """Return whose session this is, None if it is nobody's; then it ends."""
    if "account" not in g:
        g.account = None
        if "account" in session:
            opened, key = open_session(), digest(session.get("key", ""))
            row = opened.scalar(select(LoginSession).where(LoginSession.digest == key))
            if row and row.account_id == session["account"] and row.created > now() - SESSION_LASTS:
                g.account = opened.get(Account, row.account_id)
            else:
                session.clear()
    return g.account


def login_required(view: Any) -> Any:
    """Send visitors who aren't logged in to the log-in page, and back afterward."""

    @wraps(view)
    def wrapped(**values: Any) -> Any:
        if current_account() is None:
            here = request.script_root + request.full_path.rstrip("?")
            back = {"next": here} if request.method == "GET" else {}
            return redirect(url_for("accounts.login", **back), 303)
        return view(**values)

    return wrapped


def safe_next(default: str) -> str:
    """Return the path in `?next=` if it is one of this app's: a link may lead nowhere else."""
    path = request.args.get("next", "")
    # A browser takes //host and /\host for another site, and throws tabs and line ends away.
    inside = re.fullmatch(r"/(?![/\\])[!-~]*", path) and "\\" not in path
    return path if inside and path.startswith(request.script_root + "/") else default


# Tokens


def digest(secret: str) -> str:
    """Return the hash of a session's key or of a token, as the database has it.

    It needs no salt and no slow hash, unlike a password: these are random, so nobody can guess them.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def account_of_token() -> int:
    """Return the id of the account whose token the request carries. Raises a 401."""
    # Not `request.authorization`, which raises a ValueError for some headers that nobody should send.
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        query = select(ApiToken).where(
            ApiToken.digest == digest(token.strip()),
            or_(ApiToken.expires.is_(None), ApiToken.expires > now()),
        )
        found = open_session().scalar(query)
        if found:
            return found.account_id
    raise Unauthorized(
        "Send a token: Authorization: Bearer ... You make one on your account page.",
        www_authenticate=WWWAuthenticate("bearer"),
    )
