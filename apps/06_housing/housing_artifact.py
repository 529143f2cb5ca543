"""A trained model as two files, the model file and its card: how they are written, read and watched.

The card is a JSON file. It says what the model was trained on, how well it did on data it had not
seen, and which model file it belongs to. Reading begins with the card: a model file is a pickle, and
a pickle can run any code when it is opened, so a file that is not the one its card describes is
never opened. That guards against mix-ups and damage, not against someone who can write to the
folder: who can replace the model can replace its card.

Every stage with a model has this same file, with its own names in the line below. It knows nothing
of what a model answers: that is for the module that trains it.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import io
import json
import logging
import pickle
import platform
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

STAGE, NAME = "06_housing", "housing"
MODEL_FOLDER = Path(__file__).parent / "model"
MODEL_NAME, CARD_NAME = f"{NAME}.joblib", f"{NAME}.json"
TRAIN_COMMAND = f"python3 -m workshop train {STAGE[:2]}"
HOLDS_ANOTHER = f"The model file {MODEL_NAME} holds not what its card says"

SETTLE = 0.2  # seconds until two files that do not match are read again: somebody may be saving
ATTEMPTS = 20  # to save, while others save at the same time
PATIENCE = 10.0  # seconds that a request waits for a model that is being loaded
LOOK_EVERY = 0.02  # seconds; looking whether the files have changed can take as long as an answer

# What opening a damaged or foreign pickle raises; the documentation of `pickle` names most.
UNREADABLE = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
)

Card = TypeVar("Card")
Model = TypeVar("Model")

log = logging.getLogger(__name__)


class Versions(TypedDict):
    """The versions that trained a model."""

    python: str
    scikit_learn: str


class ModelUnavailable(Exception):
    """There is no model that may be used. The message says why and ends with the remedy."""

    status = "unavailable"

    def __init__(self, problem: str, remedy: str = f"build it with {TRAIN_COMMAND}") -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem


class ModelLoading(ModelUnavailable):
    """The model is on its way."""

    status = "loading"

    def __init__(self) -> None:
        super().__init__("The model is still being loaded", "ask again in a moment")


def versions() -> Versions:
    """Return the versions in use here, without importing scikit-learn."""
    return {
        "python": platform.python_version(),
        "scikit_learn": importlib.metadata.version("scikit-learn"),
    }


def fingerprint(content: bytes) -> str:
    """Return the SHA-256 of the bytes of a file, as the card has it."""
    return hashlib.sha256(content).hexdigest()


def pack(model: object, compress: int = 0) -> bytes:
    """Return a trained model as the bytes of a model file; `compress` is joblib's, from 0 to 9."""
    import joblib

    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=compress)
    return buffer.getvalue()


def unpack(content: bytes) -> Any:
    """Open the bytes of a model file, which `read` has checked. Raises ModelUnavailable."""
    import joblib

    try:
        return joblib.load(io.BytesIO(content))
    except UNREADABLE as error:
        raise ModelUnavailable(f"The model file {MODEL_NAME} can't be opened") from error


def write(content: bytes, card: Mapping[str, Any], folder: Path) -> Path:
    """Write a model file and its card into `folder`, and return the model file's path.

    The card gets the SHA-256 of the model file. Of several that write at once, one leaves both of
    its files: each looks afterwards whether card and model file belong together, and writes again
    if not. So whoever comes last has looked last. Raises OSError, such as for a full disk.
    """
    card = dict(card) | {"sha256": fingerprint(content)}
    card_content = (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(ATTEMPTS):
        _replace({MODEL_NAME: content, CARD_NAME: card_content}, folder)
        described = json.loads((folder / CARD_NAME).read_bytes())["sha256"]
        if fingerprint((folder / MODEL_NAME).read_bytes()) == described:
            return folder / MODEL_NAME
    raise OSError(errno.EBUSY, "other programs keep writing there")


def _replace(contents: Mapping[str, bytes], folder: Path) -> None:
    """Replace files in `folder`, each by a rename: whoever reads one never sees half of it.

    All are written under temporary names before the first is renamed, so a full disk leaves them as
    they were.
    """
    suffix = f".{secrets.token_hex(4)}.tmp"
    try:
        for name, content in contents.items():
            (folder / (name + suffix)).write_bytes(content)
        for name in contents:
            (folder / (name + suffix)).replace(folder / name)
    finally:
        for name in contents:
            (folder / (name + suffix)).unlink(missing_ok=True)


def read(folder: Path, form: TypeAdapter[Card], features: list[str]) -> tuple[bytes, Card]:
    """Return the bytes of the model file in `folder`, not opened, and the card that describes them.

    The card must have the `form` and the `features` given. Raises ModelUnavailable, whose message
    says what is wrong and how to build the model.
    """
    for pause in (0, SETTLE):  # who saves a model replaces the two files one after the other
        time.sleep(pause)
        card = _read_card(folder, form, features)
        _check_versions(card["versions"])
        # The bytes that are checked are the ones that may be opened: they are not read anew.
        content = _read_bytes(folder / MODEL_NAME, f"The model file {MODEL_NAME} is missing")
        if fingerprint(content) == card["sha256"]:
            return content, card
    raise ModelUnavailable(f"The model file {MODEL_NAME} is not the one its card describes")


def _read_card(folder: Path, form: TypeAdapter[Card], features: list[str]) -> Card:
    """Return the card in `folder`, checked in form. Raises ModelUnavailable."""
    content = _read_bytes(folder / CARD_NAME, "There is no trained model yet")
    try:
        card = form.validate_json(content, strict=True)
    except ValidationError as error:
        if any(problem["loc"] == ("stage",) for problem in error.errors()):
            problem = f"The card {CARD_NAME} does not belong to stage {STAGE}"
            raise ModelUnavailable(problem) from error
        raise ModelUnavailable(f"The model's card {CARD_NAME} is damaged") from error
    if list(card["features"]) != features:
        raise ModelUnavailable(f"The card {CARD_NAME} describes a model with other features")
    return card


def _check_versions(trained: Versions) -> None:
    """Raise ModelUnavailable where other versions than those in use have trained the model.

    Another patch release of Python is no reason to refuse a model.
    """
    used = versions()
    if trained["scikit_learn"] != used["scikit_learn"]:
        raise ModelUnavailable(
            f"The model was trained with scikit-learn {trained['scikit_learn']}, "
            f"but {used['scikit_learn']} is installed"
        )
    if trained["python"].split(".")[:2] != used["python"].split(".")[:2]:
        raise ModelUnavailable(
            f"The model was trained with Python {trained['python']}, "
            f"but this is Python {used['python']}"
        )


def _read_bytes(path: Path, missing: str) -> bytes:
    """Return the bytes of a file. Raises ModelUnavailable, with `missing` where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelUnavailable(missing) from None
    except OSError as error:
        kind = "model's card" if path.name == CARD_NAME else "model file"
        raise ModelUnavailable(
            f"The {kind} {path.name} can't be read ({error.strerror})"
        ) from error


class ModelFile(Generic[Model]):
    """The model in a folder: loaded once, and again only when its files have changed.

    So training in another terminal heals a running app. A new model that is not whole does not
    replace the old one. Loading has a thread of its own, so that an app can say meanwhile that it
    is on its way. Safe to share between the threads of a server.
    """

    def __init__(self, folder: Path, load: Callable[[Path], Model]) -> None:
        """Take the folder, and the function that loads a model from it or raises ModelUnavailable."""
        self.folder = Path(folder)
        self._load_from = load
        self._paths = [self.folder / name for name in (CARD_NAME, MODEL_NAME)]
        self._lock = threading.Lock()  # held for starting to load
        self._order = threading.Lock()  # held for loading: two loads never overlap
        self._look_again = 0.0  # when, in seconds of the monotonic clock
        self._seen: list[tuple[int, int] | None] | None = None
        self._loading: threading.Thread | None = None
        self._model: Model | None = None
        self._problem = ""

    def get(self, patience: float = PATIENCE) -> Model:
        """Return the model to use now.

        Whoever comes first after the files have changed waits for the new model, though not longer
        than `patience` in seconds; until it is there, all others get the old one. While there is no
        old one, everybody waits. Raises ModelUnavailable when there has never been a model, and its
        subclass ModelLoading when it takes longer than that.
        """
        now = time.monotonic()
        if self._model is not None and now < self._look_again:
            return self._model
        self._look_again = now + LOOK_EVERY
        # Taken before loading: a change during loading shows as a new state on the next look.
        state = [_state(path) for path in self._paths]
        if (state != self._seen and self._start_loading(state)) or self._model is None:
            self._loading.join(patience)
        if self._model is not None:
            return self._model
        if self._loading.is_alive():
            raise ModelLoading
        raise ModelUnavailable(self._problem)

    def _start_loading(self, state: list[tuple[int, int] | None]) -> bool:
        """Load what is in the folder now, unless another thread has seen the same change first."""
        with self._lock:
            if state == self._seen:
                return False
            loading = threading.Thread(target=self._load, name="load the model", daemon=True)
            loading.start()
            self._loading, self._seen = loading, state
            return True

    def _load(self) -> None:
        with self._order:
            try:
                self._model = self._load_from(self.folder)
            except ModelUnavailable as error:
                self._problem = error.problem
                log.warning("%s", error)
            except BaseException:
                self._problem = f"The model file {MODEL_NAME} can't be loaded"
                raise  # a crash: the thread's traceback is for the log


def _state(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced, or None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
