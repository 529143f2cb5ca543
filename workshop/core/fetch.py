"""Gets a data set's files from a mirror or from their source, and verifies them.

pooch downloads an archive, checks its hash if that is known, and tries once more if the download is
interrupted. The files inside are always verified here, wherever the archive came from.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from urllib.parse import urlsplit

from workshop.core.errors import WorkshopError
from workshop.core.files import shown_path
from workshop.setup.mirror import folder_of, go_past_proxy, is_url, shown
from workshop.setup.process import setting

TIME_LIMIT = 30.0  # seconds for a mirror or source, from the first request to the last byte
PATIENCE = (5.0, 10.0)  # seconds to wait for a connection, and then for each next byte
LARGEST = 10  # MB in an archive; ours are smaller than 1 MB


@dataclass(frozen=True)
class Member:
    """A file in an archive, with its size in bytes and its SHA-256 (hexadecimal)."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class RemoteData:
    """A data set's files, and where to get them.

    A mirror has the zip file `archive` in its top folder or in `folder`. The source is the zip or
    tar.gz file at `url`, if given; `sha256` is its hash, or None if only its members are fixed.
    """

    title: str
    archive: str
    folder: str
    members: tuple[Member, ...]
    url: str = ""
    sha256: str | None = None


class DataUnavailableError(WorkshopError):
    """Data that can't be used. For a mirror or a source, the message is a clause."""


class NotThereError(DataUnavailableError):
    """The place works, but it doesn't have the file."""


def read_kept(dataset: RemoteData, folder: Path) -> dict[str, bytes]:
    """Read a data set's files from the folder where they are kept. Raises DataUnavailableError."""
    return {
        member.name: verify(member, read_file(folder / member.name)) for member in dataset.members
    }


def read_mirror(
    dataset: RemoteData, mirror: str, timeout: float = TIME_LIMIT
) -> tuple[dict[str, bytes], str]:
    """Get a data set from a mirror, a folder or a URL, within `timeout` seconds.

    Returns the verified files by name, and the archive's path or URL. Raises DataUnavailableError.
    """
    deadline = time.monotonic() + timeout
    folder = folder_of(mirror)
    place = shown(mirror) if is_url(mirror) else shown_path(folder)
    if is_url(mirror):
        try:
            go_past_proxy(mirror)
        except ValueError as error:  # http://[::1 without its bracket
            raise DataUnavailableError("it isn't a valid address") from error
        print(f"Asking {place} for the {dataset.title.lower()}", file=sys.stderr)
    elif not folder.is_dir():
        raise DataUnavailableError(f"there is no folder {place}")
    for path in (dataset.archive, f"{dataset.folder}/{dataset.archive}"):
        with suppress(NotThereError):
            if is_url(mirror):
                url = f"{mirror.rstrip('/')}/{path}"
                return unpack(dataset, download(dataset, url, deadline)), shown(url)
            return unpack(dataset, read_file(folder / path)), shown_path(folder / path)
    raise NotThereError(f"there is no {dataset.archive} in {place}")


def read_source(dataset: RemoteData, timeout: float) -> tuple[dict[str, bytes], str]:
    """Get a data set from its source. Returns and raises the same as `read_mirror`."""
    if setting("WORKSHOP_OFFLINE") not in ("", "0"):
        raise DataUnavailableError("WORKSHOP_OFFLINE is set")
    host = urlsplit(dataset.url).hostname
    print(f"Asking {host} for the {dataset.title.lower()}", file=sys.stderr)
    archive = download(dataset, dataset.url, time.monotonic() + timeout, dataset.sha256)
    return unpack(dataset, archive), dataset.url


def read_file(path: Path) -> bytes:
    """Read a file. Raises NotThereError if it doesn't exist, DataUnavailableError if it can't be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotThereError(f"there is no {path.name} in {shown_path(path.parent)}") from error
    except OSError as error:
        raise DataUnavailableError(f"{shown_path(path)} can't be read: {error.strerror}") from error


def verify(member: Member, content: bytes) -> bytes:
    """Return `content` if its size and hash are those of `member`."""
    if len(content) != member.size:
        raise DataUnavailableError(f"{member.name} isn't {member.size:,} bytes long")
    if hashlib.sha256(content).hexdigest() != member.sha256:
        raise DataUnavailableError(f"the SHA-256 of {member.name} is wrong")
    return content


def unpack(dataset: RemoteData, archive: bytes) -> dict[str, bytes]:
    """Extract a data set's files from a zip or tar.gz archive, in memory, and verify them."""
    if archive[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise DataUnavailableError(f"its {dataset.archive} is a web page")
    is_tar, file, files = archive.startswith(b"\x1f\x8b"), io.BytesIO(archive), {}
    try:
        with tarfile.open(fileobj=file) if is_tar else zipfile.ZipFile(file) as opened:
            paths = opened.getnames() if is_tar else opened.namelist()
            open_file = opened.extractfile if is_tar else opened.open
            found = {PurePosixPath(path).name: path for path in paths}  # in whichever folder
            for member in dataset.members:
                if member.name not in found:
                    raise DataUnavailableError(f"{member.name} is missing from the archive")
                content = open_file(found[member.name]).read(member.size + 1)  # stops a zip bomb
                files[member.name] = verify(member, content)
    except DataUnavailableError:
        raise
    except Exception as error:  # each decompressor raises its own errors for damaged data
        raise DataUnavailableError(f"its {dataset.archive} is damaged or cut short") from error
    return files


def download(dataset: RemoteData, url: str, deadline: float, sha256: str | None = None) -> bytes:
    """Get the archive at `url` before `deadline`, a time of the monotonic clock.

    pooch works in a thread, which is left behind if it takes too long: nothing else limits the time of a
    host name's lookup, or of a server that sends its headers byte by byte.
    """
    import pooch
    from requests.exceptions import ChunkedEncodingError, ConnectionError, RequestException

    def watch(size: int) -> None:
        """Print progress after each chunk, and at the end, when pooch passes the total as the size.

        Stops a download that is far too large. After the deadline the folder is gone: raises OSError.
        """
        megabytes = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
        if megabytes > LARGEST:
            raise DataUnavailableError(f"it sent more than {LARGEST} MB")
        if sys.stderr.isatty():  # in a notebook or log file it would repeat
            end = "\n" if size == bar.total else "\r"
            print(f"{megabytes:.1f} MB", end=end, file=sys.stderr)

    def get(*arguments: object) -> None:
        """Download once. Raises ChunkedEncodingError if interrupted, which is worth another try."""
        try:
            pooch.HTTPDownloader(progressbar=bar, timeout=PATIENCE)(*arguments)
        except ChunkedEncodingError:
            raise
        except RequestException as error:
            if error.response is not None:
                status = error.response.status_code
                kind = NotThereError if status == 404 else DataUnavailableError
                raise kind(f"it answered with status {status}") from error
            if "timed out" in str(error):
                raise DataUnavailableError("it took too long") from error
            if isinstance(error, ConnectionError):
                raise DataUnavailableError("it can't be reached") from error
            raise DataUnavailableError(f"the request failed: {type(error).__name__}") from error

    def run() -> None:
        try:
            received.set_result(Path(source.fetch(name, downloader=get)).read_bytes())
        except BaseException as error:  # noqa: BLE001 (raised again by `result` below)
            received.set_exception(error)

    name = dataset.archive
    received: Future[bytes] = Future()
    bar = SimpleNamespace(total=0, update=watch, reset=lambda: None, close=lambda: None)
    pooch.get_logger().setLevel("WARNING")  # it would log the URL, including any password
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            source = pooch.create(
                folder, "", registry={name: sha256}, urls={name: url}, retry_if_failed=1
            )
            threading.Thread(target=run, daemon=True).start()
            return received.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError as error:
        raise DataUnavailableError("it took too long") from error
    except ChunkedEncodingError as error:
        raise DataUnavailableError("the download was interrupted") from error
    except ValueError as error:
        raise DataUnavailableError("the SHA-256 of its archive is wrong") from error
    except OSError as error:
        raise DataUnavailableError(
            f"a download can't be written to the disk: {error.strerror}"
        ) from error
