"""Looks whether everything the workshop needs is there and works, and says how to mend what is not."""

import hashlib
import importlib.metadata
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workshop.bootstrap import LOCK, find_environment
from workshop.running import FOLDER, GALLERY_URL, gallery_at, is_free, status_of
from workshop.stages import ROOT, STAGES, base, stages_with_app, stages_with_model

GALLERY_PORT = 8000
LAB_PORT = 8888


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. If `well` is false, `text` ends with what to do.

    A `note` is well too: it tells something worth knowing that keeps nobody from working.
    """

    subject: str
    well: bool
    text: str
    note: bool = False

    def __str__(self) -> str:
        mark = "WRONG" if not self.well else "note" if self.note else "ok"
        return f"{mark:<5}  {self.subject:<12} {self.text}"


def interpreter() -> Iterator[Finding]:
    environment = find_environment()
    version = platform.python_version()
    if environment.is_current:
        yield Finding("interpreter", True, f"Python {version} in {sys.prefix}")
    else:
        fix = "start it as: python3 -m workshop doctor"
        yield Finding(
            "interpreter", False, f"Python {version} in {sys.prefix} is not the workshop's; {fix}"
        )


def lock() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    wrong, count = [], 0
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate():
            continue
        count += 1
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            if wanted.name != "uv":  # it only installs the others; pip has done that where it can't
                wrong.append(f"{wanted.name} is missing")
        else:
            if not wanted.specifier.contains(found, prereleases=True):
                wrong.append(f"{wanted.name} is {found} instead of {wanted.specifier}")
    if not wrong:
        yield Finding("lock", True, f"{count} packages as requirements.txt says")
        return
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    fix = f"delete {find_environment().stamp} and run any workshop command again"
    yield Finding("lock", False, f"{', '.join(wrong[:3])}{more}; {fix}")


def kernel() -> Iterator[Finding]:
    import nbformat

    from workshop import notebooks

    code = "import sys, workshop; print(sys.executable)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    try:
        notebooks.run(notebook, base() / "notebooks", "the doctor's notebook")
    except Exception as error:  # noqa: BLE001 (whatever keeps a kernel from running is the finding)
        fix = "delete the .venv folder and run any workshop command again"
        yield Finding("kernel", False, f"notebooks can't run ({type(error).__name__}); {fix}")
        return
    outputs = notebook.cells[0].outputs
    used = "".join(part.text for part in outputs if part.get("name") == "stdout").strip()
    if Path(used).parent == Path(sys.executable).parent:
        yield Finding("kernel", True, "a notebook ran with the workshop's Python")
    else:
        fix = "choose the kernel 'Python 3 (ipykernel)' in JupyterLab, started by: python3 -m workshop start"
        yield Finding("kernel", False, f"notebooks run with {used}; {fix}")


def write_access() -> Iterator[Finding]:
    models = [stage.card_file.parent for stage in stages_with_model()]
    places = [base() / "notebooks", ROOT / "data", *(folder.parent for folder in models), *models]
    for folder in filter(Path.is_dir, places):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            name = folder.relative_to(ROOT)
            fix = "move the workshop to a folder of your own"
            yield Finding("write access", False, f"can't write in {name} ({error.strerror}); {fix}")
            return
    yield Finding("write access", True, "notebooks, data and models can be saved")


def busy_app_ports() -> str:
    """What runs on the ports of the apps; empty if all are free."""
    serving, taken = [], []
    for stage in stages_with_app():
        if is_free(stage.port):
            continue
        if status_of(f"http://127.0.0.1:{stage.port}/") is None:
            taken.append(
                f"{stage.port} is in use by another program (use app {stage.number} --port)"
            )
        else:
            serving.append(f"an app is running on {stage.port}")
    return ", ".join(serving + taken)


def ports() -> Iterator[Finding]:
    """The ports of the workshop that runs; if none does, those that `start` would take.

    A port of an app is a note at most: nothing but `app` needs it, and that takes any other.
    """
    apps = busy_app_ports()
    default = f"http://127.0.0.1:{GALLERY_PORT}"
    # In a notebook, `start` has said which workshop the kernel belongs to.
    for url in dict.fromkeys((os.environ.get(GALLERY_URL) or default, default)):
        gallery = gallery_at(url)
        if gallery and gallery.get("folder") == FOLDER:
            text = f"the workshop is running on {url.rpartition(':')[2]}"
            yield Finding("ports", True, f"{text}; {apps}" if apps else text, note=bool(apps))
            return
    busy = []
    if not gallery and not is_free(GALLERY_PORT):
        busy.append(f"{GALLERY_PORT} (use start --port)")
    if not is_free(LAB_PORT):
        busy.append(f"{LAB_PORT} (use start --lab-port)")
    wrong = [f"in use by another program: {', '.join(busy)}"] if busy else []
    if gallery:
        where = f"another copy of the workshop runs on {GALLERY_PORT}"
        wrong.insert(0, f"{where} (end that one, or use start --port)")
    if wrong:
        yield Finding("ports", False, "; ".join(wrong))
    elif apps:
        yield Finding("ports", True, f"{GALLERY_PORT} and {LAB_PORT} are free; {apps}", note=True)
    else:
        last = max(stage.port for stage in stages_with_app())
        yield Finding("ports", True, f"{GALLERY_PORT}, {LAB_PORT} and those up to {last} are free")


def data() -> Iterator[Finding]:
    from workshop import datasets

    for name in sorted({stage.dataset for stage in STAGES if stage.dataset}):
        yield Finding("data", *datasets.state(name))


def models() -> Iterator[Finding]:
    from workshop.training import model_module

    for stage in stages_with_model():
        if not stage.card_file.exists():
            text = f"{stage.slug}: not trained yet; start does it, or: python3 -m workshop train {stage.code}"
            yield Finding("model", True, text, note=True)
            continue
        try:
            module = model_module(stage)
        except Exception as error:  # noqa: BLE001 (learners edit these files; any error is the finding)
            text = f"{stage.slug}: its code stops with {type(error).__name__}: {error}"
            yield Finding("model", False, f"{text}; mend the files in apps/{stage.slug}")
            continue
        try:
            module.load()
        except module.ModelUnavailable as problem:
            yield Finding("model", False, f"{stage.slug}: {problem}")
        else:
            yield Finding(
                "model", True, f"{stage.slug}: trained, and the file is the one its card describes"
            )


EXAMINATIONS: tuple[Callable[[], Iterator[Finding]], ...] = (
    interpreter,
    lock,
    kernel,
    write_access,
    ports,
    data,
    models,
)


def examine() -> Iterator[Finding]:
    """Every finding, as it is made."""
    for examination in EXAMINATIONS:
        try:
            yield from examination()
        except Exception as error:  # noqa: BLE001 (the doctor's tools come from the lock, and may be gone)
            subject = examination.__name__.replace("_", " ")
            fix = "delete the .venv folder and run any workshop command again"
            yield Finding(
                subject, False, f"can't be examined ({type(error).__name__}: {error}); {fix}"
            )


def summary(findings: list[Finding]) -> str:
    """One line to paste to the instructor: state, version of the lock, Python, system."""
    wrong = sorted({finding.subject for finding in findings if not finding.well})
    state = f"not ready ({', '.join(wrong)})" if wrong else "ready"
    version = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:6]
    system = {"win32": "win", "darwin": "mac"}.get(sys.platform, sys.platform)
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return f"workshop: {state} · {version} · {python} · {system}"
