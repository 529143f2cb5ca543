"""Looks whether everything the workshop needs is there and works, and says how to mend what is not."""

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from workshop.core.stages import STAGES, base, find_stage, stages_with_app, stages_with_model
from workshop.host.ports import FOLDER, GALLERY_URL, gallery_at, is_free, status_of
from workshop.setup.environment import find_environment
from workshop.setup.lock import LOCK, locked
from workshop.setup.mirror import folder_of, is_url, mirrors, shown
from workshop.setup.process import ROOT

GALLERY_PORT = 8000
LAB_PORT = 8888
ROOM_NEEDED = 100_000_000  # bytes: all data, models and notebooks, several times over
MIRROR_LIMIT = 5.0  # seconds for each thing that the room's mirror is asked for
DATABASE_LIMIT = 5  # seconds for a database server
STAGE_LIMIT = (
    60.0  # seconds for the code of one stage; a cold laptop imports scikit-learn in about ten
)


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


def set_up_anew() -> str:
    """What to do about packages that are not as they should be."""
    environment = find_environment()
    what = "the .venv folder" if environment.own else environment.stamp
    return f"delete {what} and run any workshop command again"


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
    for wanted in map(Requirement, locked(LOCK)):
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
    """The kernel that JupyterLab starts for our notebooks, run for real.

    All notebooks ask for the kernel named python3, and the first folder that has one wins. In `.venv`
    ours comes before the user's own; JUPYTER_PATH comes before both, and without `.venv` so does the
    user's. IPython's own kernel is taken only where no folder has one (`ensure_native_kernel`).
    """
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager

    from workshop.upkeep import refresh_notebooks as notebooks

    code = "import sys\nprint(sys.prefix)\nimport workshop"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    folders = [base() / "notebooks", ROOT / "notebooks"]  # the first is back with the next start
    reason = ""
    try:
        notebooks.run(notebook, next(filter(Path.is_dir, folders)), "the doctor's notebook")
    except Exception as error:  # noqa: BLE001 (whatever keeps a kernel from running is the finding)
        reason = type(error).__name__
    outputs = notebook.cells[0].get("outputs", [])
    used = "".join(part.text for part in outputs if part.get("name") == "stdout").strip()
    if not reason and Path(used).resolve() == Path(sys.prefix).resolve():
        yield Finding("kernel", True, "a notebook ran with the workshop's Python")
        return
    folder = KernelSpecManager().find_kernel_specs().get("python3", "")
    if Path(folder).resolve().is_relative_to(Path(sys.prefix).resolve()):
        fix = set_up_anew()
    else:
        fix = f"another Python's kernel is in the way: rename the folder {folder}"
    if used and Path(used).resolve() != Path(sys.prefix).resolve():
        yield Finding("kernel", False, f"notebooks run with the Python in {used}; {fix}")
    else:
        yield Finding("kernel", False, f"notebooks can't run ({reason}); {fix}")


def write_access() -> Iterator[Finding]:
    models = [stage.card_file.parent for stage in stages_with_model()]
    apps = [folder.parent for folder in models]
    for folder in filter(Path.is_dir, [ROOT, base() / "notebooks", ROOT / "data", *apps, *models]):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            name = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
            where = "the workshop's folder" if folder == ROOT else name
            fix = "move the workshop to a folder of your own"
            yield Finding(
                "write access", False, f"can't write in {where} ({error.strerror}); {fix}"
            )
            return
    free = shutil.disk_usage(base()).free
    if free < ROOM_NEEDED:
        text = f"only {free / 1e6:.0f} MB are free on the disk; make room for {ROOM_NEEDED / 1e6:.0f} MB"
        yield Finding("write access", False, text)
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
    from workshop.core import datasets

    for name in sorted({stage.dataset for stage in STAGES if stage.dataset}):
        yield Finding("data", *datasets.state(name))


def mirror() -> Iterator[Finding]:
    """The room's mirror, or the kit around this folder: asked for all that it may hold, data verified."""
    from workshop.core import datasets

    asked = mirrors()
    if not asked:
        yield Finding("mirror", True, "none is set, and none is needed")
    for name, place in asked:
        holds, trouble = [], None
        for dataset in (datasets.CENSUS, datasets.HOUSING):
            try:
                with contextlib.redirect_stderr(
                    io.StringIO()
                ):  # no word of a download: nothing is kept
                    datasets.read_mirror(dataset, place, MIRROR_LIMIT)
            except datasets.DataUnavailableError as error:
                if not str(error).startswith(f"there is no {dataset.archive} in "):
                    trouble = error
                    break
            else:
                holds.append(dataset.title.lower())
        if trouble:
            yield Finding("mirror", False, f"{name} can't be used ({trouble}); {mirror_fix(place)}")
            continue
        if has_wheels(place):
            holds.append("wheels")
        where = shown(place) if is_url(place) else place
        if holds:
            yield Finding("mirror", True, f"{where} answers, with {', '.join(holds)}")
        else:
            text = f"{where} holds no data and no wheels; {mirror_fix(place)}"
            yield Finding("mirror", False, text)


def has_wheels(place: str) -> bool:
    """Whether a mirror, which has answered, holds the folder `wheels` for the set-up."""
    import requests

    if not is_url(place):
        return any(folder_of(place).glob("wheels/*.whl"))
    try:
        answer = requests.get(f"{place.rstrip('/')}/wheels/", timeout=MIRROR_LIMIT)
    except (OSError, ValueError):  # requests' own errors are both
        return False
    return answer.ok and ".whl" in answer.text


def mirror_fix(place: str) -> str:
    """What to do about a mirror that does not answer, or holds nothing."""
    from requests.utils import get_environ_proxies

    if not is_url(place):
        return (
            "plug in the stick, and set WORKSHOP_MIRROR to its folder that holds adult, housing or "
            "wheels; or unset it"
        )
    fix = "check the address with your instructor, and join the room's network; or unset it"
    with contextlib.suppress(ValueError):  # no valid address, as the finding says
        fix = f"WORKSHOP_MIRROR is {shown(place)}: {fix}"
        if get_environ_proxies(place).get(urlsplit(place).scheme):
            host = urlsplit(place).hostname
            fix += f"; or set NO_PROXY to {host}, because a proxy may be in the way"
    return fix


def stages() -> Iterator[Finding]:
    """Each stage's model, app and database, tried in a process of its own (see `workshop.teach.try_stage`).

    Learners change that code: whatever it does there, the doctor goes on, and it is read anew each time.
    """
    from workshop.core.build import mend

    environ = {
        "PYTHONUTF8": "1",
        "FLASK_RUN_FROM_CLI": "true",  # as with `flask run`, an app.run() in the code does nothing
        "PGCONNECT_TIMEOUT": str(DATABASE_LIMIT),
    }
    codes = [stage.code for stage in STAGES]
    under_way = None
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workshop.teach.try_stage", str(STAGE_LIMIT), *codes],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            env=os.environ | environ,
        )
        try:
            for line in process.stdout:
                found = json.loads(line)
                if isinstance(found, str):
                    under_way = found
                else:
                    yield Finding(**found)
        finally:  # also where nobody wants to hear the rest
            process.kill()
            process.wait()
            process.stdout.close()
        log.seek(0)
        told = log.read().decode("utf-8", "replace")
    if under_way is None:
        reason = (told.strip() or "no reason given").splitlines()[-1]
        yield Finding("app", False, f"no stage can be tried ({reason}); {set_up_anew()}")
    elif under_way:
        stage = find_stage(under_way)
        yield Finding("app", False, f"{stage.slug}: {why_ended(told, stage.folder)}; {mend(stage)}")


def why_ended(log: str, folder: Path) -> str:
    """Why the code in `folder` took its process along, as far as its log tells."""
    for file, line in re.findall(r'File "(.+)", line (\d+) in ', log):  # the innermost call first
        if Path(file).is_relative_to(folder):
            name = Path(file).relative_to(base()).as_posix()
            return f"{name}, line {line}, is still at work after {STAGE_LIMIT:.0f} seconds"
    return "its code ended Python"


EXAMINATIONS: tuple[Callable[[], Iterator[Finding]], ...] = (
    interpreter,
    lock,
    kernel,
    write_access,
    ports,
    data,
    mirror,
    stages,
)


def examine() -> Iterator[Finding]:
    """Every finding, as it is made."""
    for examination in EXAMINATIONS:
        try:
            yield from examination()
        except Exception as error:  # noqa: BLE001 (the doctor's tools come from the lock, and may be gone)
            subject = examination.__name__.replace("_", " ")
            text = f"can't be examined ({type(error).__name__}: {error}); {set_up_anew()}"
            yield Finding(subject, False, text)


def summary(findings: list[Finding]) -> str:
    """One line to paste to the instructor: state, version of the lock, Python, system."""
    wrong = sorted({finding.subject for finding in findings if not finding.well})
    state = f"not ready ({', '.join(wrong)})" if wrong else "ready"
    version = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:6]
    system = {"win32": "win", "darwin": "mac"}.get(sys.platform, sys.platform)
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return f"workshop: {state} · {version} · {python} · {system}"
