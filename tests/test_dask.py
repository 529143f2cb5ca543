"""Scoring, and the notebook's model search, on a Dask cluster of several processes.

Dask is not among the workshop's dependencies. Where it is not installed, only what is said then is tested; to
test the rest, `python -m uv pip install distributed` into the environment of the tests.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import nbformat
import psutil
import pytest
from notebook_support import what_they_need

from workshop.core import dask_cluster as cluster
from workshop.core.dask_cluster import ClusterFailed
from workshop.core.stages import find_stage
from workshop.setup.process import ROOT

pytestmark = pytest.mark.slow

RUN = "import sys; from workshop.cli import run; sys.exit(run(sys.argv[1:]))"
HEADER = "age,workclass,education,marital_status,race,sex,hours_per_week"
ROWS = [
    "39,State-gov,Bachelors,Never-married,White,Male,40",
    "50,,Doctorate,Married-civ-spouse,Black,Female,20",
    "7,Private,HS-grad,Divorced,Other,Female,38",
]
WORKERS = 3
PATIENCE = 240  # seconds; nothing here is about speed
needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None,
    reason="Dask is not installed (python -m uv pip install distributed)",
)


def until(done):
    """Return what `done()` gives once that is true; fail if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not (found := done()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def dask(folder, *arguments):
    """A process of Dask, started where nothing of the workshop lies; it is killed in the end."""
    command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
    with (folder / f"{arguments[0]}.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    family = psutil.Process(process.pid)
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in [*family.children(recursive=True), family]:
                each.kill()
        process.wait()


@contextlib.contextmanager
def scheduler(folder):
    """A Dask scheduler; gives its address."""
    file = folder / "scheduler.json"
    options = (
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(file),
    )
    with dask(folder, "scheduler", *options) as process:
        until(lambda: file.exists() or process.poll() is not None)
        yield until(lambda: json.loads(file.read_text(encoding="utf-8") or "{}"))["address"]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A cluster of several processes, as on several machines: the address of its scheduler."""
    folder = tmp_path_factory.mktemp("cluster")
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(scheduler(folder))
        for number in range(WORKERS):
            place = folder / str(number)
            place.mkdir()
            options = ("--nthreads", "1", "--no-dashboard", "--local-directory", str(place))
            stack.enter_context(dask(place, "worker", found, *options))
        with client_of(found) as client:
            client.wait_for_workers(WORKERS, timeout=PATIENCE)
        yield found


@contextlib.contextmanager
def client_of(address):
    from distributed import Client

    with Client(address, timeout=PATIENCE, set_as_default=False) as client:
        yield client


def done_by_each(client):
    """How many tasks each worker has done."""
    return client.run(lambda dask_worker: dask_worker.state.executed_count)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A place with stage 05 and a model of its own, trained on the stand-in."""
    work = tmp_path_factory.mktemp("work")
    ignored = shutil.ignore_patterns("__pycache__", "model")
    shutil.copytree(ROOT / "apps" / "05_census", work / "apps" / "05_census", ignore=ignored)
    environ = {name: value for name, value in os.environ.items() if name != "WORKSHOP_MIRROR"}
    workshop(work, "train", "05", environ=environ | {"WORKSHOP_OFFLINE": "1"})
    return work


def workshop(work, *arguments, environ=None):
    """Run a command of the workshop in `work`; what it said, and its exit code."""
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        cwd=ROOT,
        env=(environ or os.environ) | {"WORKSHOP_WORK": str(work)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.fixture
def people(tmp_path):
    """A file of eight chunks, a third of whose rows are bad."""
    file = tmp_path / "people.csv"
    file.write_text("\n".join([HEADER, *ROWS * 25_000, ""]), encoding="utf-8")
    return file


@needs_dask
def test_a_cluster_gives_the_same_files_as_this_machine(address, work, people, tmp_path):
    for place, options in {"here": (), "there": ("--dask", address)}.items():
        (tmp_path / place).mkdir()
        with client_of(address) as client:
            before = done_by_each(client)
            done = workshop(work, "score", "05", people, "-o", tmp_path / place / "s.csv", *options)
            assert done.returncode == 3, done.stderr
            assert "50,000 scored in " in done.stdout
            after = done_by_each(client)
    assert sum(after[worker] > before[worker] for worker in before) > 1, "several have worked"
    for name in ("s.csv", "s.bad.csv"):
        there = (tmp_path / "there" / name).read_bytes()
        assert there == (tmp_path / "here" / name).read_bytes()
    with client_of(address) as client:

        def origin():
            import census_csv

            return census_csv.__file__

        found = client.run(origin).values()
        assert not any(file.startswith(str(work)) for file in found), "they were sent it"


@needs_dask
@pytest.mark.skipif(os.name != "posix", reason="Windows sends no such signal to one process")
def test_a_worker_that_dies_in_the_middle_loses_nobody(work, people, tmp_path):
    here = tmp_path / "here.csv"
    assert workshop(work, "score", "05", people, "-o", here).returncode == 3
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(scheduler(tmp_path))
        for number in range(2):
            place = tmp_path / str(number)
            place.mkdir()
            # Without a nanny, which would start another in the place of the one that is killed.
            options = ("--no-nanny", "--nthreads", "1", "--no-dashboard")
            worker = stack.enter_context(
                dask(place, "worker", address, *options, "--local-directory", str(place))
            )
        client = stack.enter_context(client_of(address))
        client.wait_for_workers(2, timeout=PATIENCE)
        there = tmp_path / "there.csv"
        scoring = subprocess.Popen(
            [sys.executable, "-c", RUN, "score", "05", people, "-o", there, "--dask", address],
            cwd=ROOT,
            env=os.environ | {"WORKSHOP_WORK": str(work)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: sum(done_by_each(client).values()) > 0)
        assert scoring.poll() is None, "it is still at work"
        worker.send_signal(signal.SIGKILL)
        assert scoring.wait(PATIENCE) == 3
    assert there.read_bytes() == here.read_bytes()


@needs_dask
def test_the_notebook_s_model_search_runs_unchanged_on_a_cluster(address, tmp_path):
    notebook = nbformat.read(find_stage(5).notebook_files[1], as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    search = next(cell for cell in code if "GridSearchCV(" in cell.source)
    needed = what_they_need(code[: code.index(search) + 1], [search])
    # First on this machine, then once more on the cluster: the same cell, and one line before it.
    program = "\n".join(
        [
            "import matplotlib; matplotlib.use('agg')",
            *(cell.source for cell in needed),
            "here = search.cv_results_['mean_test_score']",
            textwrap.dedent(f"""
                import joblib, numpy
                from distributed import Client
                client = Client({address!r})
                joblib.parallel_config("dask")
            """),
            search.source,
            "numpy.testing.assert_allclose(search.cv_results_['mean_test_score'], here, atol=1e-12)",
            "print('SAME')",
        ]
    )
    with client_of(address) as client:
        before = done_by_each(client)
        run = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT / "notebooks",
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert run.returncode == 0, run.stderr[-2000:]
        assert run.stdout.splitlines()[-1] == "SAME"
        after = done_by_each(client)
    assert sum(after[worker] > before[worker] for worker in before) > 1, "several have worked"


# What is said when it can't be


def test_without_dask_it_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ClusterFailed, match="Dask is not installed: .* uv pip install distributed"),
        cluster.cluster("tcp://127.0.0.1:8786", tmp_path),
    ):
        pytest.fail("the block must not run")


@needs_dask
@pytest.mark.parametrize("address", ["127.0.0.1:9", "no such address", "tcp://"])
def test_an_address_where_no_scheduler_is(address, monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "PATIENCE", 2)
    with (
        pytest.raises(ClusterFailed, match="No Dask scheduler answers at .*: start one with"),
        cluster.cluster(address, tmp_path),
    ):
        pytest.fail("the block must not run")


@needs_dask
def test_a_cluster_without_workers(tmp_path):
    with (
        scheduler(tmp_path) as address,
        pytest.raises(
            ClusterFailed, match=f"has no workers: start some with `dask worker {address}`"
        ),
        cluster.cluster(address, tmp_path),
    ):
        pytest.fail("the block must not run")


@needs_dask
def test_workers_with_another_scikit_learn_are_refused(address, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "OURS", "0.24.2")
    with (
        pytest.raises(ClusterFailed, match="instead of 0.24.2: install requirements.txt on them"),
        cluster.cluster(address, tmp_path),
    ):
        pytest.fail("the block must not run")


@needs_dask
def test_workers_that_lack_a_package_are_refused(address, tmp_path):
    (tmp_path / "census_needs.py").write_text("import no_such_package", encoding="utf-8")
    with (
        pytest.raises(ClusterFailed, match="lack a package .*no_such_package"),
        cluster.cluster(address, tmp_path),
    ):
        pytest.fail("the block must not run")
