"""The database: its tables, how it is opened, and the command that makes it.

SQLite in the app's instance folder, or PostgreSQL if DATABASE_URL names a server, in the form
`postgresql://user:password@host/name`. The app never creates tables by itself: without them,
the pages that need them say what to do.
"""

import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import click
import sqlalchemy as sa
from flask import Flask, current_app
from flask.cli import with_appcontext
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from werkzeug.exceptions import Unauthorized

from housing_key import BadSetting

BUSY_SECONDS = 4  # how long a statement waits for others; then the page says that it is busy
NAME_LENGTH = 100  # of the names that people choose: for predictions and tokens
USERNAME_LENGTH = 64
FORM = "postgresql://user:password@host/name"  # of DATABASE_URL
BUSY = "wait a little, then try again"
SEEN = "housing_tables"  # where the app notes that the tables exist
UNKNOWN = datetime(1, 1, 1)  # what an unreadable date counts as: long past
HERE = Path(__file__).resolve().parent

# A row stays readable after a commit, even if another request deletes it.
db = SQLAlchemy(session_options={"expire_on_commit": False})


def now() -> datetime:
    """Return the time in UTC, in the form in which every column keeps it: without a time zone."""
    return datetime.now(UTC).replace(tzinfo=None)


class Moment(sa.types.TypeDecorator):
    """A date and time. Anything else (SQLite stores any value in any column) is read as UNKNOWN."""

    impl, cache_ok = sa.DateTime, True
    python_type = datetime

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        """Return the function that reads a value, or None if the driver does that."""
        if not (read := super().result_processor(dialect, coltype)):
            return None

        def read_or_unknown(value: Any) -> datetime | None:
            try:
                return read(value)
            except (TypeError, ValueError):
                return UNKNOWN

        return read_or_unknown


class Base(DeclarativeBase):
    """What all tables have in common."""

    type_annotation_map: ClassVar = {float: sa.Double, datetime: Moment}
    # The number of a deleted row is never given to a new one.
    __table_args__: ClassVar = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True, sort_order=-2)  # the first column
    created: Mapped[datetime] = mapped_column(default=now)


class Account(Base):
    """An account that people can log in to."""

    __tablename__ = "account"

    username: Mapped[str] = mapped_column(sa.String(USERNAME_LENGTH), unique=True)
    password_hash: Mapped[str] = mapped_column(sa.String(255))


class OfAccount:
    """What belongs to an account. The database deletes it when the account goes."""

    account_id: Mapped[int] = mapped_column(
        sa.ForeignKey("account.id", ondelete="CASCADE"), index=True, sort_order=-1
    )


class LoginSession(OfAccount, Base):
    """A browser that is logged in. If this row is gone, its cookie opens nothing."""

    __tablename__ = "login_session"

    digest: Mapped[str] = mapped_column(sa.String(64), unique=True)  # of the key in the cookie


class ApiToken(OfAccount, Base):
    """A token for the API. The table has only its hash: nobody who reads the table can use it."""

    __tablename__ = "api_token"

    name: Mapped[str] = mapped_column(sa.String(NAME_LENGTH))
    digest: Mapped[str] = mapped_column(sa.String(64), unique=True)
    last_used: Mapped[datetime | None]
    expires: Mapped[datetime | None]  # None: never


class SavedPrediction(OfAccount, Base):
    """A district, and its prediction at the time it was saved."""

    __tablename__ = "saved_prediction"

    name: Mapped[str] = mapped_column(sa.String(NAME_LENGTH))
    median_income: Mapped[float]
    house_age: Mapped[float]
    average_rooms: Mapped[float]
    average_bedrooms: Mapped[float]
    population: Mapped[float]
    average_occupancy: Mapped[float]
    latitude: Mapped[float]
    longitude: Mapped[float]
    price_usd: Mapped[int]
    low_usd: Mapped[int]
    high_usd: Mapped[int]
    model_version: Mapped[str] = mapped_column(sa.String(12))


class DatabaseUnavailable(Exception):
    """There is no usable database. The message says why, and ends with what to do."""

    def __init__(self, problem: str, remedy: str = "make it with", command: bool = True) -> None:
        self.problem, self.remedy = problem, remedy
        self.command = init_command() if command else ""
        super().__init__(f"{problem}; {remedy} {self.command}".strip())


@sa.event.listens_for(Base, "load", propagate=True)
def check_row(row: Base, _: object) -> None:
    """Raise DatabaseUnavailable for a row whose number or text is of another type.

    SQLite lets any program write anything into any column.
    """
    for name, column in sa.inspect(type(row)).columns.items():
        kind, value = column.type.python_type, getattr(row, name)
        if value is not None and not isinstance(value, (int, float) if kind is float else kind):
            problem = f"The table {row.__tablename__} has a row whose {name} can't be read"
            raise DatabaseUnavailable(problem, "correct that row, or delete it", command=False)


def init_command() -> str:
    """Return what to type to make the tables: in the workshop's folder, or else in the app's own."""
    roots = [above for above in HERE.parents[1:3] if (above / "workshop").is_dir()]
    if not roots or HERE.parent.name != "apps":
        return "flask --app app.py init-db"
    # The workshop's Python isn't on the PATH.
    python = Path(sys.executable)
    python = python.parent.resolve() / python.name
    if python.is_relative_to(roots[0]):
        python = python.relative_to(roots[0])
    python = f'"{python}"' if " " in str(python) else python
    app = (HERE / "app.py").relative_to(roots[0]).as_posix()
    return f"{python} -m flask --app {app} init-db"


def init_engine(app: Flask) -> None:
    """Connect the app to the database that DATABASE_URL names, or to SQLite in its instance folder.

    Nothing is opened yet. Raises BadSetting for a URL that names no such database.
    """
    forms = f"write {FORM} or sqlite:///name.db"
    try:
        url = sa.make_url(app.config["DATABASE_URL"] or "sqlite:///housing.db")
    except (SQLAlchemyError, ValueError):  # whose messages may contain parts of the password
        raise BadSetting(f"DATABASE_URL can't be read: {forms}, or unset it") from None
    match url.get_backend_name():
        case "sqlite":
            path = Path(app.instance_path, url.database or "housing.db")
            options = {"url": sa.URL.create("sqlite", database=str(path))}
            options["creator"] = partial(open_file, path)
        case "postgresql" | "postgres":
            # Together the two times are below BUSY_SECONDS; the driver allows no shorter connect_timeout.
            patience = f"{url.query.get('options', '')} -c statement_timeout=1900ms"
            asked = {"connect_timeout": "2", **url.query, "options": patience.strip()}
            options = {"url": url.set(drivername="postgresql+psycopg"), "connect_args": asked}
        case other:
            raise BadSetting(f"DATABASE_URL must name SQLite or PostgreSQL, not {other}: {forms}")
    # Connecting is cheap. Without a pool, a file that is deleted and made again is seen right away; and
    # of a server that hangs, the driver notices when it connects, but not when it waits for an answer.
    options |= {"poolclass": sa.NullPool, "hide_parameters": True}
    app.config["SQLALCHEMY_ENGINES"] = {"default": options}
    db.init_app(app)
    app.cli.add_command(init_db)


def open_file(path: Path) -> sqlite3.Connection:
    """Return a connection to SQLite's file, which must be there: `mode=rw` never makes one."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)
    connection.execute("PRAGMA foreign_keys = ON")  # SQLite's default is off
    return connection


def open_session() -> Session:
    """Return the request's session, once it is clear that the tables are there.

    Raises DatabaseUnavailable.
    """
    path, seen = sqlite_path(db.engine), current_app.extensions.get(SEEN)
    if not seen or (path and not path.exists()):
        look(db.engine, db.session.connection)
        current_app.extensions[SEEN] = True  # so the next requests don't need to check
    return db.session


def look(engine: sa.Engine, connect: Callable[[], sa.Connection]) -> None:
    """Raise DatabaseUnavailable, with the reason and what to do, unless the tables are there."""
    path = sqlite_path(engine)
    if path and not path.exists():
        raise DatabaseUnavailable("There is no database yet")
    try:
        found = tables_are_there(connect())
    except SQLAlchemyError as error:
        raise explain(error, engine) from error
    if not found:
        raise DatabaseUnavailable("The database has no tables yet")


def look_soon(seconds: float = 1.5) -> None:
    """Do the same for health checks, which don't wait any longer than that."""
    engine, waiting = db.engine, ThreadPoolExecutor(1)

    def look_now() -> None:
        with ExitStack() as stack:
            look(engine, lambda: stack.enter_context(engine.connect()))

    try:
        waiting.submit(look_now).result(seconds)
    except TimeoutError:
        raise DatabaseUnavailable("The database does not answer", BUSY, command=False) from None
    finally:
        waiting.shutdown(wait=False)


def explain(error: SQLAlchemyError, engine: sa.Engine) -> DatabaseUnavailable:
    """Return what to do about a database error."""
    original, path = getattr(error, "orig", None), sqlite_path(engine)
    if path:
        code = getattr(original, "sqlite_errorname", "")
        if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_CANTOPEN")):
            remedy = (
                f"move {path.name} out of the folder {path.parent.name}, and make a new one with"
            )
            return DatabaseUnavailable("The database can't be opened", remedy)
    elif not getattr(original, "sqlstate", None):  # an error from a server that answers has a code
        remedy = f"check that its server runs, and DATABASE_URL ({FORM}); then make the tables with"
        return DatabaseUnavailable("The database can't be opened", remedy)
    return DatabaseUnavailable("The database does not answer", BUSY, command=False)


def cause(error: BaseException | None) -> str:
    """Return what the database says about an error, for the log and the command line, in one line.

    What it says about rows is left out: PostgreSQL's DETAIL has whole rows, including password hashes.
    """
    error = getattr(error, "orig", None) or error
    diagnosis = getattr(error, "diag", None)
    text = getattr(diagnosis, "message_primary", None) or str(error)
    return " ".join(text.partition("(Background on")[0].split())


def sqlite_path(engine: sa.Engine) -> Path | None:
    """Return the database's file; None if it is a server."""
    return Path(engine.url.database) if engine.url.get_backend_name() == "sqlite" else None


def tables_are_there(connection: sa.Connection) -> bool:
    """Return whether the database has this app's tables. Raises DatabaseUnavailable if it has others."""

    def columns(name: str) -> set[str]:
        return set(connection.execute(sa.text(f"SELECT * FROM {name} LIMIT 0")).keys())  # noqa: S608  # nosec B608

    wanted = {name: set(table.columns.keys()) for name, table in Base.metadata.tables.items()}
    found = wanted.keys() & sa.inspect(connection).get_table_names()
    if found and {name: columns(name) for name in found} != wanted:
        raise DatabaseUnavailable(
            "The database belongs to another version of this app",
            "move it away, or name another one in DATABASE_URL, and make it with",
        )
    return bool(found)


def hold(account_id: int, *conditions: sa.ColumnElement[bool]) -> None:
    """Keep other requests from adding to this account until the commit.

    Call this before you count an account's rows and then add one: if two requests do so at the same
    time, the second waits here, and then counts the first one's row too. Raises a 401 if the account is
    gone, or no longer meets the `conditions`.
    """
    mine = sa.update(Account).where(Account.id == account_id, *conditions)
    if not open_session().execute(mine.values(username=Account.username)).rowcount:
        raise Unauthorized("This account no longer exists.")


@click.command("init-db")
@with_appcontext
def init_db() -> None:
    """Create the tables, all or none. It does no harm to repeat this, even at the same time."""
    try:
        if path := sqlite_path(db.engine):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        with db.engine.connect() as connection:
            if path:
                # Readers don't wait for a writer, nor a writer for readers; the file keeps this setting.
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(sa.text("SET LOCAL statement_timeout = '60s'"))
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(19900601)"))
            there = tables_are_there(connection)
            Base.metadata.create_all(connection)
            connection.commit()
    except DatabaseUnavailable as error:
        raise click.ClickException(f"The database can't be made: {error}") from error
    except SQLAlchemyError as error:
        problem = f"{cause(error)}. {explain(error, db.engine)}"
        raise click.ClickException(f"The database can't be made: {problem}") from error
    except OSError as error:
        problem = f"{error.strerror}: {error.filename}; make that folder writable"
        raise click.ClickException(f"The database can't be made: {problem}") from error
    click.echo("The database already exists." if there else "Made the database.")
