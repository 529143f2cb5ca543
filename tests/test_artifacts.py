"""Model files and their cards, in every stage that has them: written, read, damaged, replaced, raced for.

Stages 04 and 06 have tests of their own in `test_model_files.py` and `test_housing_model_files.py`.
"""

import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import joblib
import pytest
import requests
import sklearn
from flask.testing import FlaskClient
from sklearn.utils import Bunch

from workshop.core import datasets
from workshop.core.stages import find_stage, load_app_module
from workshop.host.ports import free_port
from workshop.setup.process import ROOT

PERSON = {
    "age": 39,
    "workclass": "State-gov",
    "education": "Bachelors",
    "marital_status": "Never-married",
    "race": "White",
    "sex": "Male",
    "hours_per_week": 40,
}
QUESTIONS = {
    "census": ("/api/v1/predictions", PERSON),
}


@dataclass(frozen=True)
class Subject:
    """A stage under test: its modules, its two files, and a question that its API answers."""

    slug: str
    name: str
    app: types.ModuleType
    model: types.ModuleType
    artifact: types.ModuleType
    question: tuple[str, dict]

    @property
    def files(self) -> tuple[str, str]:
        """The names of the model file and of its card."""
        return f"{self.name}.joblib", f"{self.name}.json"

    @property
    def remedy(self) -> str:
        return f"; build it with python3 -m workshop train {self.slug[:2]}"

    def client(self, folder: Path) -> FlaskClient:
        """A client of the app with the model in `folder`."""
        config = {"MODEL_FOLDER": folder, "INSTANCE_FOLDER": folder.parent / "instance"}
        return self.app.create_app(config).test_client()

    def watch(self, folder: Path):
        """The model in `folder`, as an app watches it."""
        return self.artifact.ModelFile(folder, self.model.load)

    def status(self, client: FlaskClient) -> int:
        """The status of the API's answer."""
        path, body = self.question
        return client.post(path, json=body).status_code


@pytest.fixture(scope="module", params=QUESTIONS)
def stage(request) -> Subject:
    slug, name = find_stage(request.param).slug, request.param
    app = load_app_module(slug)
    modules = (sys.modules[f"{name}_{part}"] for part in ("model", "artifact"))
    return Subject(slug, name, app, *modules, QUESTIONS[name])


@pytest.fixture(scope="module")
def built(stage, tmp_path_factory) -> Path:
    """A folder with a whole model; a test that damages it uses a copy."""
    data = getattr(datasets, find_stage(stage.name).dataset)()
    # What a model says is not tested here, so a few rows will do.
    data = Bunch(**data | {"train": data.train.head(1000), "test": data.test.head(200)})
    trained = stage.model.train(data)
    return stage.model.save(*trained, tmp_path_factory.mktemp("model")).parent


@pytest.fixture
def folder(built, tmp_path) -> Path:
    """A whole model of the test's own."""
    return Path(shutil.copytree(built, tmp_path / "model"))


@pytest.fixture
def at_once(stage, monkeypatch) -> None:
    """Files that do not match are read again, and changed ones are seen, without a pause."""
    monkeypatch.setattr(stage.artifact, "SETTLE", 0)
    monkeypatch.setattr(stage.artifact, "LOOK_EVERY", 0)


def dumped(thing: object) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(thing, buffer)
    return buffer.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def save_newer(stage: Subject, folder: Path, name: str = "The newer one") -> None:
    """Save the model anew, under another name."""
    model, card = (folder / each for each in stage.files)
    described = json.loads(card.read_bytes())
    stage.artifact.write(model.read_bytes(), described | {"name": name}, folder)


# Saving


def test_saving_leaves_the_two_files_and_nothing_else(stage, built):
    assert sorted(path.name for path in built.iterdir()) == sorted(stage.files)
    content, card = ((built / name).read_bytes() for name in stage.files)
    assert json.loads(card)["sha256"] == stage.artifact.fingerprint(content)
    # A class of this repository inside the pickle would tie it to a module that may move.
    assert f"{stage.name}_".encode() not in content
    assert b"__main__" not in content


KILLED = """
import sys
from pathlib import Path

import psutil

_, apps, module, folder, moment = sys.argv
sys.path.insert(0, apps)
write_bytes = Path.write_bytes

def write_half(path, content):
    write_bytes(path, content[: len(content) // 2])
    psutil.Process().kill()

def before_rename(event, details):
    if event == "os.rename" and Path(details[1]).name == moment:
        psutil.Process().kill()

if moment == "writing":
    Path.write_bytes = write_half
sys.addaudithook(before_rename)
__import__(module).write(b"a newer model", {"name": "The killed one"}, Path(folder))
"""


@pytest.mark.parametrize("moment", ["writing", "before the first", "between the two"])
def test_a_kill_in_the_middle_of_saving_takes_no_model_from_a_running_app(
    stage, folder, at_once, moment
):
    """`kill -9`, or what Windows has for it, while a file is written, and before each rename."""
    before, watched = contents(folder), stage.watch(folder)
    old = watched.get()
    model, card = stage.files
    where = {"writing": "writing", "before the first": model, "between the two": card}[moment]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, ROOT / "apps" / stage.slug, stage.artifact.__name__]
        + [folder, where]
    )
    assert killed.returncode not in (0, 1)
    assert watched.get() is old
    if moment == "between the two":  # this pair is no model, and no one takes it for one
        with pytest.raises(stage.artifact.ModelUnavailable, match=r"is not the one its card desc"):
            stage.model.load(folder)
        (folder / model).write_bytes(before[model])
    assert {name: contents(folder)[name] for name in before} == before
    save_newer(stage, folder)
    assert stage.model.load(folder).card["name"] == "The newer one"
    assert watched.get().card["name"] == "The newer one"


def test_of_two_that_save_at_once_one_leaves_both_its_files(stage, folder, monkeypatch):
    """One saves from beginning to end while another has renamed its model file and not its card."""
    replace, waiting = Path.replace, [True]

    def let_the_other_in(path, target):
        if target.name == stage.files[1] and waiting:
            waiting.clear()
            stage.artifact.write(b"the other's", {"name": "The other's"}, folder)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", let_the_other_in)
    stage.artifact.write(b"its own", {"name": "Its own"}, folder)
    content, card = ((folder / name).read_bytes() for name in stage.files)
    described = json.loads(card)
    assert not waiting
    assert {b"its own": "Its own", b"the other's": "The other's"}[content] == described["name"]
    assert described["sha256"] == stage.artifact.fingerprint(content)
    assert sorted(path.name for path in folder.iterdir()) == sorted(stage.files)


SAVER = """
import random
import sys
import time
from pathlib import Path

_, apps, module, folder, name = sys.argv
sys.path.insert(0, apps)
write, replace = __import__(module).write, Path.replace

def replace_in_time(path, target):
    time.sleep(random.uniform(0, 0.002))  # or they would seldom meet
    return replace(path, target)

Path.replace = replace_in_time
print("ready", flush=True)
for _ in sys.stdin:
    write(name.encode() * 1000, {"name": name}, Path(folder))
    print("saved", flush=True)
"""


def test_processes_that_save_at_once_leave_one_whole_model(stage, folder):
    command = [sys.executable, "-c", SAVER, ROOT / "apps" / stage.slug, stage.artifact.__name__]
    savers = [
        subprocess.Popen(
            [*command, folder, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in ("Anna's", "Ben's")
    ]
    try:
        for said in ["ready\n"] + ["saved\n"] * 20:
            assert [saver.stdout.readline() for saver in savers] == [said] * 2
            content, card = ((folder / name).read_bytes() for name in stage.files)
            if said == "saved\n":
                assert json.loads(card)["sha256"] == stage.artifact.fingerprint(content)
            for saver in savers:
                print("save", file=saver.stdin, flush=True)
    finally:
        for saver in savers:
            saver.kill()
            saver.communicate()


def test_who_reads_between_the_two_files_of_a_saver_reads_once_more(stage, folder, monkeypatch):
    newer = Path(shutil.copytree(folder, folder.with_name("newer")))
    model, card = stage.files
    same = stage.artifact.unpack((newer / model).read_bytes())
    (newer / model).write_bytes(stage.artifact.pack(same, compress=1))  # in other bytes
    save_newer(stage, newer)
    (newer / model).replace(folder / model)  # as a saver does it: first the one

    def let_the_saver_finish(seconds):
        if seconds:
            (newer / card).replace(folder / card)  # and then the other

    monkeypatch.setattr(stage.artifact.time, "sleep", let_the_saver_finish)
    assert stage.model.load(folder).card["name"] == "The newer one"


# Loading what is not whole


class Bait:
    """Opening a pickle of this creates a folder: proof that a pickle can run anything."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@dataclass(frozen=True)
class Artifact:
    """The two files in a folder, for whoever is about to damage them."""

    model: Path
    card: Path

    def edit(self, **changes) -> None:
        """Change what the card says."""
        self.card.write_text(json.dumps(json.loads(self.card.read_bytes()) | changes), "utf-8")

    def forge(self, content: bytes) -> None:
        """Replace the model file and make the card agree with it."""
        self.model.write_bytes(content)
        self.edit(sha256=hashlib.sha256(content).hexdigest())

    def cut(self) -> None:
        """Leave half of the model file."""
        self.model.write_bytes(self.model.read_bytes()[: self.model.stat().st_size // 2])


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def number_as_text(artifact: Artifact) -> None:
    data = json.loads(artifact.card.read_bytes())["data"]
    artifact.edit(data=data | {"rows_train": str(data["rows_train"])})


def with_nan(artifact: Artifact) -> None:
    metrics = json.loads(artifact.card.read_bytes())["metrics"]
    artifact.edit(metrics=metrics | {next(iter(metrics)): float("nan")})


def trained_with(python: str, scikit_learn: str) -> Callable[[Artifact], None]:
    return lambda artifact: artifact.edit(versions={"python": python, "scikit_learn": scikit_learn})


DAMAGE: dict[str, tuple[Callable[[Artifact], object], str]] = {
    "nothing there": (lambda a: shutil.rmtree(a.card.parent), "There is no trained model yet"),
    "card missing": (lambda a: a.card.unlink(), "There is no trained model yet"),
    "model missing": (lambda a: a.model.unlink(), "The model file {model} is missing"),
    "card is a folder": (lambda a: folder_instead(a.card), "The model's card {card} can't be read"),
    "model is a folder": (lambda a: folder_instead(a.model), "The model file {model} can't be rea"),
    "card empty": (lambda a: a.card.write_bytes(b""), "The model's card {card} is damaged"),
    "card not UTF-8": (lambda a: a.card.write_bytes(b'{"stage": "\xff"}'), "{card} is damaged"),
    "card nested too deep": (lambda a: a.card.write_bytes(b"[" * 100_000), "{card} is damaged"),
    "card a list": (lambda a: a.card.write_bytes(b"[]"), "{card} is damaged"),
    "card incomplete": (lambda a: a.edit(metrics={}), "{card} is damaged"),
    "card of wrong types": (lambda a: a.edit(name=3), "{card} is damaged"),
    "card with a number as text": (number_as_text, "{card} is damaged"),
    "card with nan": (with_nan, "{card} is damaged"),
    "card without features": (lambda a: a.edit(features={}), "describes a model with other feat"),
    "card of another stage": (
        lambda a: a.edit(stage="01_hello"),
        "{card} does not belong to stage",
    ),
    "other scikit-learn": (
        trained_with("3.11.0", "0.24.2"),
        "trained with scikit-learn 0.24.2, bu",
    ),
    "other Python": (
        trained_with("3.6.1", sklearn.__version__),
        "trained with Python 3.6.1, but t",
    ),
    "model truncated": (Artifact.cut, "The model file {model} is not the one its card describes"),
    "model empty": (lambda a: a.model.write_bytes(b""), "is not the one its card describes"),
    "model swapped": (
        lambda a: a.model.write_bytes(dumped({"another": "model"})),
        "is not the one its card describes",
    ),
    "model of another thing": (
        lambda a: a.forge(dumped({"a": "dictionary"})),
        "The model file {model} holds not what its card says",
    ),
    "model that can't be opened": (
        lambda a: a.forge(b"\x80\x04"),
        "The model file {model} can't be opened",
    ),
    "model of a class that is gone": (
        lambda a: a.forge(pickle.dumps(Bait).replace(b"Bait", b"Gone")),
        "The model file {model} can't be opened",
    ),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_model_that_is_not_whole_is_refused_and_the_old_one_serves(
    stage, folder, at_once, damage, reason
):
    watched, whole = stage.watch(folder), contents(folder)
    old = watched.get()
    model, card = stage.files
    damage(Artifact(folder / model, folder / card))
    with pytest.raises(stage.artifact.ModelUnavailable) as refused:
        stage.model.load(folder)
    sentence = str(refused.value)
    assert reason.format(model=model, card=card) in sentence
    assert sentence.endswith(stage.remedy)
    assert "\n" not in sentence
    assert watched.get() is old

    shutil.rmtree(folder, ignore_errors=True)
    described = json.loads(whole[card]) | {"name": "The newer one"}
    stage.artifact.write(whole[model], described, folder)
    assert watched.get().card["name"] == "The newer one"


def test_a_tampered_model_file_is_never_opened(stage, folder, at_once, tmp_path):
    bait = dumped(Bait(tmp_path / "ran"))
    (folder / stage.files[0]).write_bytes(bait)
    with pytest.raises(stage.artifact.ModelUnavailable, match="not the one its card describes"):
        stage.model.load(folder)
    client = stage.client(folder)
    page = client.get("/")
    assert page.status_code == 503
    assert stage.remedy.removeprefix("; build it with ") in page.text
    assert stage.status(client) == 503
    assert client.get("/healthz").json["status"] == "unavailable"
    assert not (tmp_path / "ran").exists()
    joblib.load(io.BytesIO(bait))  # the bait is live: whoever opens it runs it
    assert (tmp_path / "ran").exists()


READER = """
import os
import sys
from pathlib import Path

_, apps, name, folder = sys.argv
sys.path.insert(0, apps)
model, artifact = __import__(f"{name}_model"), __import__(f"{name}_artifact")
versions = artifact.versions()
artifact.versions = lambda: versions  # "nobody" may be kept from Python's own files, too
if os.geteuid() == 0:
    os.setuid(65534)  # root may read everything, "nobody" may not
try:
    model.load(Path(folder))
except model.ModelUnavailable as problem:
    print(problem)
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such permissions")
@pytest.mark.parametrize("which", [0, 1], ids=["model", "card"])
def test_files_that_may_not_be_read(stage, built, which):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(built, Path(place, "model")))
        for path in (Path(place), folder):
            path.chmod(0o755)
        for number, name in enumerate(stage.files):
            (folder / name).chmod(0o000 if number == which else 0o644)
        read = subprocess.run(
            [sys.executable, "-c", READER, ROOT / "apps" / stage.slug, stage.name, folder],
            capture_output=True,
            text=True,
        )
    assert read.returncode == 0, read.stderr
    kind = ["model file", "model's card"][which]
    problem = f"The {kind} {stage.files[which]} can't be read (Permission denied)"
    assert read.stdout == f"{problem}{stage.remedy}\n"


def test_another_patch_release_of_python_is_no_reason_to_refuse(stage, folder):
    python = "{}.{}.99".format(*sys.version_info[:2])
    model, card = stage.files
    trained_with(python, sklearn.__version__)(Artifact(folder / model, folder / card))
    assert stage.model.load(folder).card["versions"]["python"] == python


# The model of a running app


@pytest.fixture
def loads(stage, monkeypatch) -> list[Path]:
    """Count how often a model is loaded."""
    calls, load = [], stage.model.load

    def counted(folder):
        calls.append(folder)
        return load(folder)

    for module in (stage.model, stage.app):
        monkeypatch.setattr(module, "load", counted)
    return calls


def test_the_model_is_loaded_once(stage, folder, loads):
    client = stage.client(folder)
    assert [stage.status(client) for _ in range(3)] == [200] * 3
    assert len(loads) == 1


def test_threads_that_ask_at_once_load_the_model_once(stage, folder, loads):
    watched, together = stage.watch(folder), threading.Barrier(16)

    def ask(_):
        together.wait(timeout=30)
        return watched.get()

    with ThreadPoolExecutor(16) as pool:
        models = set(map(id, pool.map(ask, range(16))))
    assert len(loads) == len(models) == 1


def test_training_heals_a_running_app(stage, built, tmp_path):
    client = stage.client(tmp_path / "model")
    assert stage.status(client) == 503
    content, card = ((built / name).read_bytes() for name in stage.files)
    stage.artifact.write(content, json.loads(card), tmp_path / "model")
    assert stage.status(client) == 200


def test_a_model_file_that_arrives_after_its_card_heals_too(stage, folder):
    model = folder / stage.files[0]
    content = model.read_bytes()
    model.unlink()
    watched = stage.watch(folder)
    with pytest.raises(stage.artifact.ModelUnavailable, match="is missing"):
        watched.get()
    model.write_bytes(content)
    assert watched.get().card["name"]


@pytest.fixture
def served(stage, built, tmp_path) -> Iterator[tuple[str, Path]]:
    """The app in a process of its own, from a copy of its folder: its address, and its models."""
    app = tmp_path / "Büro Müller" / stage.slug
    shutil.copytree(ROOT / "apps" / stage.slug, app, ignore=shutil.ignore_patterns("model"))
    shutil.copytree(built, app / "model")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "app.py", "run", "--port", str(port)],
            cwd=app,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: server.poll() is not None or answers(url))
        yield url, app / "model"
    finally:
        server.kill()
        server.wait()


def until(done: Callable[[], object]) -> None:
    """Return once `done()` is true; fail if that never comes."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=60).status_code == 200
    except requests.ConnectionError:
        return False


def test_a_model_is_replaced_while_a_server_serves(stage, served):
    url, folder = served
    path, body = stage.question
    over, seen = threading.Event(), []

    def ask_on() -> None:
        while not over.is_set():
            page = requests.get(f"{url}/model", timeout=60)
            answer = requests.post(url + path, json=body, timeout=60)
            seen.append((page.status_code, answer.status_code, "The newer data" in page.text))
            time.sleep(0.02)

    def asked(more: int) -> None:
        goal = len(seen) + more
        until(lambda: len(seen) >= goal)

    model, card = stage.files
    whole = contents(folder)
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask_on) for _ in range(2)]
        try:
            asked(4)
            (folder / model).write_bytes(whole[model][:-9])  # somebody copies, and is not done
            asked(8)
            (folder / card).write_bytes(b"{")
            asked(8)
            assert not any(newer for _, _, newer in seen)
            described = json.loads(whole[card])
            described["data"]["source"] = "The newer data"  # which the page shows
            stage.artifact.write(whole[model], described, folder)
            until(lambda: seen[-1][2] and seen[-2][2])
        finally:
            over.set()
        for each in asking:
            each.result()
    assert {statuses[:2] for statuses in seen} == {(200, 200)}
