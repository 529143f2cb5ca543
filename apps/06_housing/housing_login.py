"""Who is asking? Passwords, sessions and tokens, and what slows down whoever guesses.

The session is a cookie that Flask signs with the SECRET_KEY: a visitor can read theirs, not change
it. It holds the account's number and a copy of its `session_key`; a new key in the database ends
all sessions at once.
"""

import hashlib
import ipaddress
import math
import re
import secrets
import time
import unicodedata
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any

from flask import g, redirect, request, session, url_for
from sqlalchemy import case, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from werkzeug.security import check_password_hash, generate_password_hash

from housing_database import Account, ApiToken, LoginSlot, db, open_session
from housing_forms import tidy_username
from housing_problems import Refusal

TOKEN_PREFIX = "housing_"  # noqa: S105 (so that a token found somewhere says what it opens)


# Passwords


@cache
def nobodys_hash() -> str:
    """Return a hash that no password fits, to check for usernames that do not exist."""
    return generate_password_hash(secrets.token_hex())


def hash_password(password: str) -> str:
    """Return the salted hash to store: scrypt, as Werkzeug sets it."""
    return generate_password_hash(unicodedata.normalize("NFKC", password))


def is_password(account: Account | None, password: str) -> bool:
    """Whether this is the account's password. Takes as long where there is no such account."""
    stored = account.password_hash if account else nobodys_hash()
    fits = check_password_hash(stored, unicodedata.normalize("NFKC", password))
    return fits and account is not None


def username_key(username: str) -> str:
    """Return the same text for all spellings of one username."""
    return tidy_username(username).casefold()


@dataclass(frozen=True)
class TooFast:
    """The answer to whoever tries too often: how many seconds to wait."""

    seconds: int


def authenticate(username: str, password: str) -> Account | TooFast | None:
    """Return the account that username and password belong to; None where they belong to none."""
    try:
        key = username_key(username)
    except ValueError:
        key = ""  # nobody has it, and it is slowed down like any other
    who = {"account": key, "address": _address()}
    waits = [admit(scope, name) for scope, name in who.items()]
    if any(waits):
        return TooFast(max(waits))
    account = open_session().scalar(select(Account).where(Account.username_key == key))
    if not is_password(account, password):
        return None
    for scope, name in who.items():
        forgive(scope, name)
    return account


# Slowing down. Each account and each address has a slot. An attempt moves the time until which it is
# busy forward by PAUSE, and is refused while that time is too far ahead. So the first BURST attempts
# are free, and then there is one per PAUSE. A slot whose time has passed means nothing any more.

BURST = {"account": 5, "address": 50}  # a classroom may share one address
PAUSE = {"account": 30.0, "address": 3.0}  # seconds


def admit(scope: str, name: str) -> int:
    """Count an attempt and return 0; or count nothing and return how many seconds to wait.

    One statement looks and counts, so attempts at the same time can't slip through together.
    """
    moment, pause = time.time(), PAUSE[scope]
    latest = moment + (BURST[scope] - 1) * pause
    opened = open_session()
    insert = {"sqlite": sqlite, "postgresql": postgresql}[db.engine.dialect.name].insert
    slot = _slot(scope, name)
    start = case((LoginSlot.busy_until > moment, LoginSlot.busy_until), else_=moment)
    counted = opened.scalar(
        insert(LoginSlot)
        .values(digest=slot, busy_until=moment + pause)
        .on_conflict_do_update(
            index_elements=[LoginSlot.digest],
            set_={"busy_until": start + pause},
            where=LoginSlot.busy_until <= latest,
        )
        .returning(LoginSlot.digest)
    )
    opened.commit()
    if counted:
        return 0
    busy_until = opened.scalar(select(LoginSlot.busy_until).where(LoginSlot.digest == slot))
    return max(1, math.ceil((busy_until or moment) - latest))


def forgive(scope: str, name: str) -> None:
    """Take back what a right password has counted: all for the account, one for the address."""
    opened, slot = open_session(), _slot(scope, name)
    if scope == "account":
        opened.execute(delete(LoginSlot).where(LoginSlot.digest == slot))
    else:
        opened.execute(
            update(LoginSlot)
            .where(LoginSlot.digest == slot)
            .values(busy_until=LoginSlot.busy_until - PAUSE[scope])
        )
    opened.commit()
    opened.execute(
        delete(LoginSlot).where(LoginSlot.busy_until <= time.time())
    )  # means nothing now
    opened.commit()


def _slot(scope: str, name: str) -> str:
    # Hashed, because people type passwords into the wrong field.
    return hashlib.sha256(f"{scope}:{name}".encode()).hexdigest()


def _address() -> str:
    """Where the request comes from. Whoever has one address of IPv6 has all of its network."""
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


# Sessions


def log_in(account: Account) -> None:
    """Start a session. The one before is thrown away: it may have been somebody else's."""
    session.clear()
    session["account"], session["key"] = account.id, account.session_key
    session["username"] = account.username  # for the menu, which asks no database


def new_session_key() -> str:
    """Return a key for the sessions of an account."""
    return secrets.token_hex(16)


def current_account() -> Account | None:
    """Return whose session this is; None, and the session ends, where it is nobody's any more."""
    if "account" not in g:
        g.account = None
        if "account" in session:
            found = open_session().get(Account, session["account"])
            if found and secrets.compare_digest(found.session_key, session.get("key", "")):
                g.account = found
            else:
                session.clear()
    return g.account


def login_required(view: Any) -> Any:
    """Send visitors who are not logged in to the log-in page, and back afterwards."""

    @wraps(view)
    def wrapped(**values: Any) -> Any:
        if current_account() is None:
            back = {"next": here()} if request.method == "GET" else {}
            return redirect(url_for("accounts.login", **back), 303)
        return view(**values)

    return wrapped


def here() -> str:
    """Return the path of the request, as a browser on the same site would ask for it."""
    return request.script_root + request.full_path.rstrip("?")


def safe_next(default: str) -> str:
    """Return the path in `?next=`, if it is one of this app: a link may lead nowhere else."""
    path = request.args.get("next", "")
    # A browser takes //host and /\host for another site, and throws tabs and line ends away.
    inside = re.fullmatch(r"/(?![/\\])[!-~]*", path) and "\\" not in path
    return path if inside and path.startswith(request.script_root + "/") else default


# Tokens


def new_token() -> tuple[str, str]:
    """Return a token, which nobody can guess, and its hash, to store."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    return token, _digest(token)


def _digest(token: str) -> str:
    # No salt and no slow hash as for a password: a token is random, so there is nothing to guess.
    return hashlib.sha256(token.encode()).hexdigest()


def account_of_token() -> int:
    """Return the id of the account whose token the request carries. Raises a 401."""
    # Not `request.authorization`, which ends in a ValueError for some headers that nobody should send.
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        query = select(ApiToken.account_id).where(ApiToken.digest == _digest(token.strip()))
        found = open_session().scalar(query)
        if found:
            return found
    raise Refusal(401, "Send a token: Authorization: Bearer ... You make one on your account page.")
