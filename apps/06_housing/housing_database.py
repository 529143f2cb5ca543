"""The database: its tables, how it is opened, and how it is made and upgraded.

SQLite in the app's instance folder, or PostgreSQL where DATABASE_URL names a server. The tables are
made by the command `init-db` and never by surprise: without them, whatever needs them says so.
"""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import click
from flask import Flask, g
from flask.cli import with_appcontext
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import (
    URL,
    Connection,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    NullPool,
    String,
    TypeDecorator,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

INIT_COMMAND = "flask --app apps/06_housing/app.py init-db"
DATABASE_NAME = "housing.db"
BUSY_SECONDS = 15  # how long a write waits for others to finish theirs
NAME_LENGTH = 100  # of what people name: their predictions and tokens
USERNAME_LENGTH = 64

# What was read stays readable after a commit, even if another request deletes the row.
db = SQLAlchemy(session_options={"expire_on_commit": False})


# The tables


class UTCDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite has no type for that: there it is stored without its time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert on the way in."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert on the way out."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """What all tables have in common."""

    type_annotation_map: ClassVar = {datetime: UTCDateTime, float: Double}
    # A number that belonged to a deleted row is never given to a new one.
    __table_args__: ClassVar = {"sqlite_autoincrement": True}


class SchemaVersion(Base):
    """One row: the version of the tables, which the code must know."""

    __tablename__ = "schema_version"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Account(Base):
    """Somebody who may log in."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(USERNAME_LENGTH))
    # The same for `Anna` and `anna`, so that nobody can pass for somebody else.
    username_key: Mapped[str] = mapped_column(String(4 * USERNAME_LENGTH), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    # Every session carries a copy: a new value here ends them all.
    session_key: Mapped[str] = mapped_column(String(32))
    created: Mapped[datetime] = mapped_column(default=now)


class ApiToken(Base):
    """A token for the API. The table has its hash only: who reads the table can't use it."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(
        ForeignKey("account.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created: Mapped[datetime] = mapped_column(default=now)


class SavedPrediction(Base):
    """A district, and what the model said of it when it was saved."""

    __tablename__ = "saved_prediction"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(
        ForeignKey("account.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
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
    model_version: Mapped[str] = mapped_column(String(12))
    created: Mapped[datetime] = mapped_column(default=now)


class LoginSlot(Base):
    """How often somebody has tried to log in lately; see `housing_login.admit`."""

    __tablename__ = "login_slot"
    __table_args__: ClassVar = {}  # its key is no number

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    busy_until: Mapped[float]  # seconds since 1970


# Opening it


class DatabaseUnavailable(Exception):
    """The database can't be used. The message says why and ends with the remedy."""

    status = "unavailable"

    def __init__(self, problem: str, remedy: str = f"make it with {INIT_COMMAND}") -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem


def init_engine(app: Flask) -> None:
    """Connect the app to the database that DATABASE_URL names, or to SQLite in its instance folder.

    Nothing is opened yet. Raises ValueError for an address of another kind.
    """
    url = make_url(app.config["DATABASE_URL"] or f"sqlite:///{DATABASE_NAME}")
    match url.get_backend_name():
        case "sqlite":
            options = _sqlite_options(Path(app.instance_path, url.database or DATABASE_NAME))
        case "postgresql" | "postgres":
            options = {"url": url.set(drivername="postgresql+psycopg"), "pool_pre_ping": True}
        case other:
            raise ValueError(f"DATABASE_URL must name SQLite or PostgreSQL, not {other}")
    app.config["SQLALCHEMY_ENGINES"] = {"default": options}
    db.init_app(app)
    app.cli.add_command(init_db)


def _sqlite_options(path: Path) -> dict[str, Any]:
    def connect() -> sqlite3.Connection:
        # mode=rw: a file that is not there is an error, and not made by surprise.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
        )
        connection.execute("PRAGMA foreign_keys = ON")  # SQLite's default is off
        return connection

    # Opening a file is cheap. With no pool, a file that was deleted and made again is seen at once.
    url = URL.create("sqlite", database=str(path))
    return {"url": url, "creator": connect, "poolclass": NullPool}


def open_session() -> Session:
    """Return the request's session, once it is clear that the tables are those of this code.

    Raises DatabaseUnavailable.
    """
    if "schema_checked" not in g:
        path = _sqlite_path()
        if path and not path.exists():
            raise DatabaseUnavailable("There is no database yet")
        try:
            found = _read_version(db.session.connection())
        except DatabaseError as error:
            raise DatabaseUnavailable(
                "The database can't be opened", "see that its server runs, or its file is whole"
            ) from error
        _require(found)
        g.schema_checked = True
    return db.session


def _sqlite_path() -> Path | None:
    url = db.engine.url
    return Path(url.database) if url.get_backend_name() == "sqlite" else None


def _read_version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(SchemaVersion.__tablename__):
        return None
    return connection.scalar(select(SchemaVersion.version))


def _require(found: int | None) -> None:
    if found is None:
        raise DatabaseUnavailable("The database has no tables yet")
    if found < SCHEMA_VERSION:
        raise DatabaseUnavailable(
            f"The database has tables of version {found}, and this app wants {SCHEMA_VERSION}",
            f"upgrade it with {INIT_COMMAND}",
        )
    if found > SCHEMA_VERSION:
        raise DatabaseUnavailable(
            f"The database has tables of version {found}, and this app knows {SCHEMA_VERSION}",
            "use the app's newer version",
        )


# Making and upgrading it

SCHEMA_VERSION = 1
# From each version to the next. Whoever changes a table raises SCHEMA_VERSION and writes here, under
# the old number, what an existing database needs: a function that alters the tables of a connection.
UPGRADES: dict[int, Callable[[Connection], None]] = {}


def init_database() -> str:
    """Make the tables or upgrade them, all or nothing; return a sentence that says what was done.

    Wants an app context. Repeating it does no harm, not even twice at the same time. Raises
    DatabaseUnavailable for a database that is newer than this code.
    """
    path = _sqlite_path()
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    with db.engine.connect() as connection:
        if path:
            # Readers and one writer at a time do not wait for each other; the file remembers it.
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(19900601)"))
        found = _read_version(connection)
        if found is None:
            Base.metadata.create_all(connection)
            connection.execute(SchemaVersion.__table__.insert().values(version=SCHEMA_VERSION))
            done = f"Made the database, with tables of version {SCHEMA_VERSION}."
        elif found < SCHEMA_VERSION:
            for version in range(found, SCHEMA_VERSION):
                UPGRADES[version](connection)
            connection.execute(SchemaVersion.__table__.update().values(version=SCHEMA_VERSION))
            done = f"Upgraded the database from version {found} to {SCHEMA_VERSION}."
        else:
            _require(found)
            done = f"The database is there, with tables of version {found}."
        connection.commit()
    return done


@click.command("init-db")
@with_appcontext
def init_db() -> None:
    """Make the database's tables, or upgrade those of an older version."""
    try:
        click.echo(init_database())
    except (DatabaseUnavailable, DatabaseError, OSError) as error:
        raise click.ClickException(f"The database can't be made: {error}") from error
