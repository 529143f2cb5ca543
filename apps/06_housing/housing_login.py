"""Who is asking? Passwords, sessions and tokens, and the limits that slow down guessing.

The session is a cookie that Flask signs with the SECRET_KEY: visitors can read theirs, but not change it. It
has the account's number, and a random key whose hash is in the database. Deleting that row ends the
session, wherever the cookie may be.
"""

import hashlib
import ipaddress
import math
import re
import secrets
import time
import unicodedata
from datetime import timedelta
from functools import wraps
from typing import Any

from flask import Flask, current_app, g, redirect, request, session, url_for
from flask_limiter import Limiter
from limits import parse
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import delete, select, update
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import TooManyRequests, Unauthorized
from werkzeug.security import check_password_hash, generate_password_hash

from housing_database import Account, ApiToken, LoginSession, hold, now, open_session
from housing_forms import tidy_username

SESSION_LASTS = timedelta(days=30)


# Failures are counted for an account and an address together, so nobody can lock somebody else out from
# another address. A whole address has a high limit, because a classroom may share one.

GUESSES = parse("5 per 30 seconds")
GUESSES_FROM_ADDRESS = parse("100 per minute")


def address() -> str:
    """Return where the request comes from: for IPv6 the network, because a visitor has all its addresses."""
    try:
        found = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((found, 64), strict=False) if found.version == 6 else found)


# This strategy stores no deadlines, so setting the clock back locks nobody out.
limiter = Limiter(address, strategy="sliding-window-counter")
limit_registrations = limiter.limit(
    "100 per hour",  # from one address
    methods=["POST"],
    error_message="Too many registrations. Try again in a few minutes.",
)


def init_login(app: Flask) -> None:
    """Prepare the limits, and a hash that matches no password, to check for usernames that don't exist."""
    limiter.init_app(app)
    app.config["NOBODYS_HASH"] = hash_password(secrets.token_hex())


def slow_down(name: str) -> None:
    """Count a guess at the password of the account `name`. Raises a 429 if there were too many.

    Guesses are counted before the password is checked, so if many come at the same time, only five are.
    """
    many = limiter.limiter.get_window_stats(GUESSES_FROM_ADDRESS, address())
    if not many.remaining:
        raise too_fast(many.reset_time)
    # The other strategy counts roughly. This one is exact, but its window has an end: if that is over,
    # or too far away because the clock was set back, counting starts again.
    exactly, who = MovingWindowRateLimiter(limiter.storage), (GUESSES, name, address())
    if not 0 < exactly.get_window_stats(*who).reset_time - time.time() <= GUESSES.get_expiry():
        exactly.clear(*who)
    if not exactly.hit(*who):
        raise too_fast(exactly.get_window_stats(*who).reset_time)


def too_fast(until: float) -> TooManyRequests:
    """Return the 429 that says how many seconds to wait."""
    wait = max(1, math.ceil(until - time.time()))
    seconds = "1 second" if wait == 1 else f"{wait} seconds"
    return TooManyRequests(f"Too many attempts. Wait {seconds}, then try again.", None, wait)


def hash_password(password: str) -> str:
    """Return the salted hash to store: scrypt, at Werkzeug's settings."""
    return generate_password_hash(unicodedata.normalize("NFKC", password))


def authenticate(username: str, password: str) -> Account | None:
    """Return the account with this username and password, or None.

    Takes just as long if the username doesn't exist. Raises a 429 after too many attempts.
    """
    try:
        name = tidy_username(username)
    except ValueError:
        name = ""  # it doesn't exist, but is slowed down like any other
    opened = open_session()
    slow_down(name)
    account = opened.scalar(select(Account).where(Account.username == name))
    stored = account.password_hash if account else current_app.config["NOBODYS_HASH"]
    if check_password_hash(stored, unicodedata.normalize("NFKC", password)) and account:
        MovingWindowRateLimiter(limiter.storage).clear(GUESSES, name, address())
        return account
    limiter.limiter.hit(GUESSES_FROM_ADDRESS, address())
    return None


def log_in(account: Account) -> None:
    """Start a session. The previous one is thrown away: it may have been somebody else's."""
    key, opened = secrets.token_hex(16), open_session()
    mine = LoginSession.account_id == account.id
    opened.execute(delete(LoginSession).where(mine, LoginSession.created < now() - SESSION_LASTS))
    hold(account.id, Account.password_hash == account.password_hash)  # not changed meanwhile
    opened.add(LoginSession(account_id=account.id, digest=digest(key)))
    opened.commit()
    session.clear()
    session["account"], session["key"] = account.id, key
    session["username"] = account.username  # for the menu, which needs no database


def log_out(*, everywhere: bool = False) -> None:
    """End the session of this browser, or every session of its account."""
    try:
        if account := current_account():
            this = LoginSession.digest == digest(session["key"])
            these = LoginSession.account_id == account.id if everywhere else this
            open_session().execute(delete(LoginSession).where(these))
            open_session().commit()
    finally:
        session.clear()


def current_account() -> Account | None:
    """Return the account of this session. If there is none, end the session and return None."""
    if "account" not in g:
        g.account = None
        if "account" in session:
            this = LoginSession.digest == digest(session.get("key", ""))
            query = select(Account, LoginSession).join(LoginSession)
            found = (
                open_session().execute(query.where(this, Account.id == session["account"])).first()
            )
            # Compared here, not in the query, because an unreadable date becomes UNKNOWN only here.
            if found and found.LoginSession.created > now() - SESSION_LASTS:
                g.account = found.Account
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
    """Return the path in `?next=` if it belongs to this app: a link must not lead anywhere else."""
    path = request.args.get("next", "")
    # A browser reads //host and /\host as another site, and ignores tabs and line ends.
    inside = re.fullmatch(r"/(?![/\\])[!-~]*", path) and "\\" not in path
    return path if inside and path.startswith(request.script_root + "/") else default


def digest(secret: str) -> str:
    """Return the hash of a session's key or of a token, as the database has it.

    It needs no salt and no slow hash, unlike a password: these are random, so nobody can guess them.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def note_use(token: ApiToken) -> None:
    """Record when a token is used; once a minute is enough, so that most requests write nothing."""
    if not token.last_used or abs(now() - token.last_used) > timedelta(minutes=1):
        this = update(ApiToken).where(ApiToken.id == token.id)
        open_session().execute(this.values(last_used=now()))
        open_session().commit()


def account_of_token() -> int:
    """Return the id of the account whose token the request carries. Raises a 401."""
    # Not `request.authorization`, which raises a ValueError for some headers that nobody should send.
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        query = select(ApiToken).where(ApiToken.digest == digest(token.strip()))
        found = open_session().scalar(query)
        if found and (found.expires is None or found.expires > now()):
            note_use(found)
            return found.account_id
    ask = "Send a token: Authorization: Bearer ... You can make one on your account page."
    raise Unauthorized(ask, www_authenticate=WWWAuthenticate("bearer"))
