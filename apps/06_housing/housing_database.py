"""The database: its tables, how it is opened, and the command that makes it.

SQLite in the app's instance folder, or PostgreSQL if DATABASE_URL names a server, in the form
`postgresql://user:password@host/name`. The app never makes tables by itself: without them, whatever
needs them says so.
"""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import click
import sqlalchemy as sa
from flask import Flask, g
from flask.cli import with_appcontext
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

DATABASE_NAME = "housing.db"
BUSY_SECONDS = 15  # how long a write waits for others to finish theirs
NAME_LENGTH = 100  # of what people name: their predictions and tokens
USERNAME_LENGTH = 64
HERE = Path(__file__).resolve().parent

# What was read stays readable after a commit, even if another request deletes the row.
db = SQLAlchemy(session_options={"expire_on_commit": False})


def now() -> datetime:
    """Return the time in UTC, in the form in which every column keeps it: without a time zone."""
    return datetime.now(UTC).replace(tzinfo=None)


# The tables


class Base(DeclarativeBase):
    """What all tables have in common."""

    type_annotation_map: ClassVar = {float: sa.Double}
    # The number of a deleted row is never given to a new one.
    __table_args__: ClassVar = {"sqlite_autoincrement": True}


class Account(Base):
    """Somebody who may log in."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(sa.String(USERNAME_LENGTH))
    # The same for `Anna` and `anna`, so that nobody can pass for somebody else.
    username_key: Mapped[str] = mapped_column(sa.String(4 * USERNAME_LENGTH), unique=True)
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    created: Mapped[datetime] = mapped_column(default=now)


class LoginSession(Base):
    """A browser that is logged in. Without its row, its cookie opens nothing."""

    __tablename__ = "login_session"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(
        sa.ForeignKey("account.id", ondelete="CASCADE"), index=True
    )
    digest: Mapped[str] = mapped_column(sa.String(64), unique=True)  # of the key in the cookie
    created: Mapped[datetime] = mapped_column(default=now)


class ApiToken(Base):
    """A token for the API. The table has only its hash: nobody who reads the table can use it."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(
        sa.ForeignKey("account.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str] = mapped_column(sa.String(NAME_LENGTH))
    digest: Mapped[str] = mapped_column(sa.String(64), unique=True)
    created: Mapped[datetime] = mapped_column(default=now)
    last_used: Mapped[datetime | None]
    expires: Mapped[datetime | None]  # None: never


class SavedPrediction(Base):
    """A district, and what the model said about it when it was saved."""

    __tablename__ = "saved_prediction"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(
        sa.ForeignKey("account.id", ondelete="CASCADE"), index=True
    )
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
    created: Mapped[datetime] = mapped_column(default=now)


# Opening it


class DatabaseUnavailable(Exception):
    """There is no database that may be used. The message says why, and ends with what to do."""

    def __init__(self, problem: str, remedy: str = "make it with") -> None:
        folder = HERE.parents[1]  # that of `apps`, if this is the workshop or a copy in its `work`
        roots = [above for above in (folder, folder.parent) if (above / "workshop").is_dir()]
        in_workshop = roots and HERE.parent.name == "apps"
        app = (HERE / "app.py").relative_to(roots[0]).as_posix() if in_workshop else "app.py"
        self.command = f"flask --app {app} init-db"
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}; {remedy} {self.command}")


def init_engine(app: Flask) -> None:
    """Connect the app to the database that DATABASE_URL names, or to SQLite in its instance folder.

    Nothing is opened yet. Raises ValueError for a database of another kind.
    """
    url = sa.make_url(app.config["DATABASE_URL"] or f"sqlite:///{DATABASE_NAME}")
    match url.get_backend_name():
        case "sqlite":
            options = sqlite_options(Path(app.instance_path, url.database or DATABASE_NAME))
        case "postgresql" | "postgres":
            options = {"url": url.set(drivername="postgresql+psycopg"), "pool_pre_ping": True}
        case other:
            raise ValueError(f"DATABASE_URL must name SQLite or PostgreSQL, not {other}")
    # Errors go to the log; they must not take password hashes there.
    app.config["SQLALCHEMY_ENGINES"] = {"default": options | {"hide_parameters": True}}
    db.init_app(app)
    app.cli.add_command(init_db)


def sqlite_options(path: Path) -> dict[str, Any]:
    """Return how SQLAlchemy opens the file at `path`."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",  # never make a file that isn't there
            uri=True,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
        )
        connection.execute("PRAGMA foreign_keys = ON")  # SQLite's default is off
        return connection

    # Opening a file is cheap. Without a pool, a file that was deleted and made again is seen right away.
    url = sa.URL.create("sqlite", database=str(path))
    return {"url": url, "creator": connect, "poolclass": sa.NullPool}


def open_session() -> Session:
    """Return the request's session, once it is clear that the tables are there.

    Raises DatabaseUnavailable.
    """
    if "tables_are_there" not in g:
        path = sqlite_path()
        if path and not path.exists():
            raise DatabaseUnavailable("There is no database yet")
        try:
            found = tables_are_there(db.session.connection())
        except DatabaseError as error:
            problem = "The database can't be opened"
            remedy = "check that its server runs, or its file is whole; a new one is made with"
            raise DatabaseUnavailable(problem, remedy) from error
        if not found:
            raise DatabaseUnavailable("The database has no tables yet")
        g.tables_are_there = True
    return db.session


def sqlite_path() -> Path | None:
    """Return the database's file; None if it is a server."""
    url = db.engine.url
    return Path(url.database) if url.get_backend_name() == "sqlite" else None


def tables_are_there(connection: sa.Connection) -> bool:
    """Return whether the database has this app's tables. Raises DatabaseUnavailable if it has others."""
    wanted = set(Base.metadata.tables)
    found = wanted.intersection(sa.inspect(connection).get_table_names())
    if found and found != wanted:
        raise DatabaseUnavailable(
            "The database belongs to another version of this app",
            "move it away, or name another one in DATABASE_URL, and make it with",
        )
    return bool(found)


def hold(account_id: int) -> bool:
    """Let no other request add to this account until the commit. Return False if it is gone.

    Whoever counts an account's rows and then adds one calls this first: of two requests that do so at
    the same time, the second waits here, and counts the row of the first.
    """
    mine = sa.update(Account).where(Account.id == account_id)
    return bool(open_session().execute(mine.values(username=Account.username)).rowcount)


# Making it


def init_database() -> str:
    """Make the tables, all or none. Return a sentence that says what was done.

    Needs an app context. Repeating it does no harm, not even twice at the same time. Raises
    DatabaseUnavailable if the database belongs to another version of this app.
    """
    path = sqlite_path()
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    with db.engine.connect() as connection:
        if path:
            # Readers and one writer at a time don't wait for each other; the file remembers it.
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(19900601)"))
        if tables_are_there(connection):
            return "The database is there already."
        Base.metadata.create_all(connection)
        connection.commit()
    return "Made the database."


@click.command("init-db")
@with_appcontext
def init_db() -> None:
    """Make the database's tables."""
    try:
        click.echo(init_database())
    except (DatabaseUnavailable, DatabaseError, OSError) as error:
        raise click.ClickException(f"The database can't be made: {error}") from error
