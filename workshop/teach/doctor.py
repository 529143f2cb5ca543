"""Checks whether everything the workshop needs is there and works, and says how to fix what doesn't."""

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
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from workshop.core.files import shown_path
from workshop.core.own_apps import OwnApp, find_app, own_apps
from workshop.core.stages import STAGES, base, stages_with_model
from workshop.host.ports import FOLDER, GALLERY_URL, another_port, gallery_at, is_free
from workshop.learn.my_copy import DAMAGED, cells_of
from workshop.setup.environment import damage, find_environment, how_to_reinstall, shadows
from workshop.setup.installer import MIRROR_LIMIT, NotServed, wheels_in
from workshop.setup.lock import LOCK, locked
from workshop.setup.mirror import is_url, mirrors, shown
from workshop.setup.process import ROOT

GALLERY_PORT = 8000
LAB_PORT = 8888
ROOM_NEEDED = 100_000_000  # bytes: all data, models and notebooks, several times over
DATABASE_LIMIT = 5  # seconds for a database server
STAGE_LIMIT = (
    60.0  # seconds for a stage's code; on a cold laptop, importing scikit-learn takes about ten
)


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. If `ok` is false, `text` ends with what to do.

    A `note` is also `ok`: something worth knowing that doesn't stop anyone from working.
    """

    subject: str
    ok: bool
    text: str
    note: bool = False

    def __str__(self) -> str:
        mark = "WRONG" if not self.ok else "note" if self.note else "ok"
        return f"{mark:<5}  {self.subject:<12} {self.text}"


def interpreter() -> Iterator[Finding]:
    """Whether this is the workshop's Python."""
    text = f"Python {platform.python_version()} in {shown_path(Path(sys.prefix), ROOT)}"
    is_ours = find_environment().is_current
    fix = " isn't the workshop's; run: python3 -m workshop doctor"
    yield Finding("interpreter", is_ours, text if is_ours else text + fix)


def lock() -> Iterator[Finding]:
    """Whether each package is installed at the version in the lock, with all its files."""
    from packaging.requirements import Requirement

    pins = map(Requirement, locked(LOCK))
    wanted = [pin for pin in pins if not pin.marker or pin.marker.evaluate()]
    damaged = damage()
    wrong = [f"{name} is damaged ({file})" for name, file in damaged.items()]
    for pin in wanted:
        if pin.name in damaged:
            continue  # its version may be unknown too
        try:
            found = importlib.metadata.version(pin.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{pin.name} is missing")
        else:
            if not pin.specifier.contains(found, prereleases=True):
                wrong.append(f"{pin.name} is {found} instead of {pin.specifier}")
    if not wrong:
        yield Finding("lock", True, f"{len(wanted)} packages match requirements.txt")
        return
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    fix = "reinstall with: python3 -m workshop doctor --repair"
    yield Finding("lock", False, f"{', '.join(wrong[:3])}{more}; {fix}")


def modules() -> Iterator[Finding]:
    """Whether a file shadows a module: next to a notebook or an app, or in a folder of PYTHONPATH."""
    apps = [*(ROOT / "apps").glob("*"), *(base() / "apps").glob("*")]
    named = [Path(place) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    places = [ROOT, Path.cwd(), ROOT / "notebooks", base() / "notebooks", *apps, *named]
    found = shadows(dict.fromkeys(places))
    for file in found:
        fix = "rename it" if file.parent not in named else "rename it, or unset PYTHONPATH"
        text = f"{shown_path(file)} hides the module {file.stem}, which other code needs; {fix}"
        yield Finding("modules", False, text)
    if not found:
        yield Finding("modules", True, "no file hides a module that other code needs")


def kernel() -> Iterator[Finding]:
    """Whether the kernel that JupyterLab starts for our notebooks works: it runs a cell.

    All notebooks use the kernel named python3, and Jupyter takes the first folder that has one:
    JUPYTER_PATH, then `.venv`, then the user's folders; without `.venv`, the user's come first. Only if no
    folder has one does Jupyter use IPython's (`ensure_native_kernel`).
    """
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient

    cell = nbformat.v4.new_code_cell("import sys\nprint(sys.prefix)\nimport workshop")
    client = NotebookClient(
        nbformat.v4.new_notebook(cells=[cell]),
        timeout=STAGE_LIMIT,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=50"],  # its log isn't for learners
    )
    folders = [base() / "notebooks", ROOT / "notebooks"]  # the first one may be deleted
    problem, ours = "", Path(sys.prefix).resolve()
    try:
        with client.setup_kernel(cwd=str(next(filter(Path.is_dir, folders)))):
            client.execute_cell(client.nb.cells[0], 0)  # `execute` would catch Ctrl-C
    except Exception as error:  # noqa: BLE001 (any error that stops a kernel is the finding)
        problem = f"notebooks can't run ({type(error).__name__})"
    for part in client.nb.cells[0].outputs:
        if part.get("name") == "stdout" and Path(part.text.strip()).resolve() != ours:
            problem = f"notebooks run with the Python in {part.text.strip()}"
    if not problem:
        yield Finding("kernel", True, "a notebook ran with the workshop's Python")
        return
    folder = KernelSpecManager().find_kernel_specs().get("python3", "")
    fix = f"Jupyter finds another Python's kernel first: rename the folder {folder}"
    if Path(folder).resolve().is_relative_to(ours):
        fix = how_to_reinstall()
    yield Finding("kernel", False, f"{problem}; {fix}")


def notebooks() -> Iterator[Finding]:
    """Whether each notebook can be opened: a full disk or a dead battery may have truncated one."""
    files = [file for stage in STAGES for file in stage.notebook_files if file.is_file()]
    damaged = [file for file in files if cells_of(file.read_bytes()) is None]
    for file in damaged:
        yield Finding("notebooks", False, f"{shown_path(file, base())} {DAMAGED}")
    if not damaged:
        yield Finding("notebooks", True, f"{len(files)} can be opened")


def write_access() -> Iterator[Finding]:
    """Whether notebooks, data and models can be saved."""
    models = [stage.card_file.parent for stage in stages_with_model()]
    apps = [folder.parent for folder in models]
    for folder in filter(Path.is_dir, [ROOT, base() / "notebooks", ROOT / "data", *apps, *models]):
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            name = "the workshop's folder" if folder == ROOT else shown_path(folder, ROOT)
            text = f"can't write in {name} ({error.strerror}); move the workshop to a folder of your own"
            yield Finding("write access", False, text)
            return
    free, text = shutil.disk_usage(base()).free, "notebooks, data and models can be saved"
    if is_short := free < ROOM_NEEDED:
        text = (
            f"the disk has only {free / 1e6:.0f} MB free; make room for {ROOM_NEEDED / 1e6:.0f} MB"
        )
    yield Finding("write access", not is_short, text)


def ports() -> Iterator[Finding]:
    """The port of the running workshop; if none is running, whether the ports for `start` are free."""
    default = f"http://127.0.0.1:{GALLERY_PORT}"
    # In a notebook, the variable contains the address of the workshop that started the kernel.
    for url in dict.fromkeys((os.environ.get(GALLERY_URL) or default, default)):
        gallery = gallery_at(url)
        if gallery and gallery.get("folder") == FOLDER:
            text = f"the workshop is running on {url.rpartition(':')[2]}"
            yield Finding("ports", True, text)
            return
    wrong = []
    if gallery:
        where = f"another copy of the workshop is running on {GALLERY_PORT}"
        wrong.append(f"{where} (stop that one, or use start --port {another_port(GALLERY_PORT)})")
    for port, option in ((GALLERY_PORT, "--port"), (LAB_PORT, "--lab-port")):
        if not (is_free(port) or (gallery and port == GALLERY_PORT)):
            fix = f"use start {option} {another_port(port)}"
            wrong.append(f"in use by another program: {port} ({fix})")
    text = f"{GALLERY_PORT} and {LAB_PORT} are free"
    yield Finding("ports", not wrong, "; ".join(wrong) or text)


def data() -> Iterator[Finding]:
    """Whether the stages' data sets are there and undamaged."""
    from workshop.core import datasets

    for name in sorted({stage.dataset for stage in STAGES if stage.dataset}):
        yield Finding("data", *datasets.state(name))


def mirror() -> Iterator[Finding]:
    """Whether the room's mirror, or the kit around this folder, has data (verified) or wheels."""
    from workshop.core import datasets

    asked = mirrors()
    if not asked:
        text = "none is set (if the room has one, set WORKSHOP_MIRROR to its address)"
        yield Finding("mirror", True, text)
    for name, place in asked:
        contents = []
        try:
            for dataset in (datasets.CENSUS, datasets.HOUSING):
                # The data isn't kept, so the progress messages would be misleading.
                quiet = contextlib.redirect_stderr(io.StringIO())
                with contextlib.suppress(datasets.NotThereError), quiet:
                    datasets.read_mirror(dataset, place, MIRROR_LIMIT)
                    contents.append(dataset.title.lower())
            contents += ["wheels"] if wheels_in(place) else []
        except (datasets.DataUnavailableError, NotServed) as error:
            yield Finding("mirror", False, f"{name} can't be used ({error}); {mirror_fix(place)}")
            continue
        text = f"works, and has {', '.join(contents)}"
        if not contents:
            text = f"has no data and no wheels; {mirror_fix(place)}"
        yield Finding("mirror", bool(contents), f"{shown(place)} {text}")


def mirror_fix(place: str) -> str:
    """What to do about a mirror that doesn't answer, or is empty."""
    from requests.utils import get_environ_proxies

    if not is_url(place):
        return (
            "plug in the USB stick, and set WORKSHOP_MIRROR to its folder that contains adult, housing or "
            "wheels; or unset it"
        )
    fix = "check the address with your instructor, and join the room's network; or unset it"
    with contextlib.suppress(ValueError):  # the address isn't valid, and the finding says that
        if get_environ_proxies(place).get(urlsplit(place).scheme):
            host = urlsplit(place).hostname
            fix += f"; or set NO_PROXY to {host}, because a proxy may be in the way"
    return f"WORKSHOP_MIRROR is {shown(place)}: {fix}"


def stages() -> Iterator[Finding]:
    """Each stage's model, app and database, tried in a separate process (see `workshop.teach.try_stage`).

    Learners change that code, so it's loaded again each time, and the doctor goes on even if it crashes.
    """
    yield from tried([stage.code for stage in STAGES])


def your_apps() -> Iterator[Finding]:
    """The learner's own apps, each in a separate process, because their modules may share names."""
    for app in own_apps():
        yield from tried([app.name])


def tried(names: list[str]) -> Iterator[Finding]:
    """The findings about these stages, or this app of the learner's, tried in a new process."""
    from workshop.core.build import remedy

    environ = {
        "PYTHONUTF8": "1",
        "FLASK_RUN_FROM_CLI": "true",  # makes app.run() do nothing, as `flask run` does
        "PGCONNECT_TIMEOUT": str(DATABASE_LIMIT),
    }
    current = None
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log,
        subprocess.Popen(
            [sys.executable, "-m", "workshop.teach.try_stage", str(STAGE_LIMIT), *names],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            env=os.environ | environ,
        ) as process,
    ):
        for line in process.stdout:
            found = json.loads(line)
            if isinstance(found, str):
                current = found
            else:
                yield Finding(**found)
        process.wait()
        log.seek(0)
        told = log.read()
    if current is None:
        reason = (told.strip() or "no reason given").splitlines()[-1]
        yield Finding("app", False, f"no stage can be tried ({reason}); {how_to_reinstall()}")
    elif current:
        app = find_app(current)
        subject = "your app" if isinstance(app, OwnApp) else "app"
        yield Finding(subject, False, f"{app.slug}: {why_ended(told, app.folder)}; {remedy(app)}")


def why_ended(log: str, folder: Path) -> str:
    """Why the process ended in the code in `folder`, according to its log."""
    escaped = str(folder).encode("ascii", "backslashreplace").decode()  # as faulthandler writes it
    for file, line in re.findall(r'File "(.+)", line (\d+) in ', log):  # the innermost call first
        if Path(file).is_relative_to(escaped):
            name = shown_path(folder / Path(file).relative_to(escaped), base())
            return f"{name}, line {line}, is still running after {STAGE_LIMIT:.0f} seconds"
    return "its code ended the Python process"


BASIC = (interpreter, lock, modules)  # a problem here would look like a problem of the stages
EXAMINATIONS = (*BASIC, kernel, notebooks, write_access, ports, data, mirror, stages, your_apps)


def examine() -> Iterator[Finding]:
    """Yield each finding as soon as it's known."""
    wrong = False
    for examination in EXAMINATIONS:
        if wrong and examination not in BASIC:
            text = "not checked yet: fix the problems above, then run the doctor again"
            yield Finding("the rest", True, text, note=True)
            return
        try:
            for finding in examination():
                yield finding
                wrong |= examination in BASIC and not finding.ok
        except Exception as error:  # noqa: BLE001 (packages that the doctor itself needs may be missing)
            subject = examination.__name__.replace("_", " ")
            text = f"can't be checked ({type(error).__name__}: {error}); {how_to_reinstall()}"
            yield Finding(subject, False, text)


def summary(findings: list[Finding]) -> str:
    """One line to send to the instructor: state, version of the lock, Python, system.

    The last two, such as `py3.12 · macos-intel`, are named as in the options of `kit`, which doesn't offer
    `windows-arm`.
    """
    wrong = sorted({finding.subject for finding in findings if not finding.ok})
    state = f"not ready ({', '.join(wrong)})" if wrong else "ready"
    version = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:6]
    system = {"win32": "windows", "darwin": "macos"}.get(sys.platform, sys.platform)
    # Windows on ARM can also run a Python for Intel, and what counts is the Python.
    machine = sysconfig.get_platform() if system == "windows" else platform.machine()
    is_arm = machine.lower().endswith(("arm64", "aarch64"))
    if is_arm != (system == "macos"):
        system += "-arm" if is_arm else "-intel"
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return f"workshop: {state} · {version} · {python} · {system}"
