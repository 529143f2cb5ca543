"""Scoring, and the notebook's model search, on a Dask cluster of several processes.

Dask isn't one of the workshop's dependencies. Without it, only that error message is tested; to test the
rest, run `python -m uv pip install distributed` in the tests' environment.
"""

import contextlib
import json
import os
import subprocess
import sys

import nbformat
import pytest
from notebook_support import what_they_need
from serve_support import PATIENCE, RUN, posix, put_stage_05, until

from workshop.core import dask_cluster as cluster
from workshop.core.dask_cluster import ClusterFailed
from workshop.core.stages import find_stage
from workshop.setup.process import ROOT

pytestmark = pytest.mark.slow

HEADER = "age,workclass,education,marital_status,race,sex,hours_per_week"
ROWS = [
    "39,State-gov,Bachelors,Never-married,White,Male,40",
    "50,,Doctorate,Married-civ-spouse,Black,Female,20",
    "7,Private,HS-grad,Divorced,Other,Female,38",
]
WITHOUT = "Dask is not installed (python -m uv pip install distributed)"


@contextlib.contextmanager
def dask(folder, workers, *options):
    """A scheduler and its workers, without the workshop's files, as on several machines.

    Yields a client and the processes, the scheduler first.
    """
    Client = pytest.importorskip("distributed", reason=WITHOUT).Client
    file, started = folder / "scheduler.json", []

    def start(kind, *arguments):
        place = folder / f"{kind}{len(started)}"
        place.mkdir()
        module = f"distributed.cli.dask_{kind}"
        command = [sys.executable, "-m", module, "--no-dashboard", *arguments]
        with (place / "log").open("wb") as log:
            started.append(subprocess.Popen(command, cwd=place, stdout=log, stderr=log))

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        until(lambda: file.exists() and file.read_text().endswith("}"))
        address = json.loads(file.read_text())["address"]
        for _ in range(workers):
            start("worker", address, "--nthreads", "1", "--local-directory", str(folder), *options)
        with Client(address, timeout=PATIENCE, set_as_default=False) as client:
            if workers:
                client.wait_for_workers(workers, timeout=PATIENCE)
            yield client, started
    finally:
        for process in started:
            process.kill()  # a worker ends with its nanny
            process.wait()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with dask(tmp_path_factory.mktemp("cluster"), 3) as (client, _):
        yield client


def done_by_each(client):
    """How many tasks each worker has done."""
    return client.run(lambda dask_worker: dask_worker.state.executed_count)


def score(*arguments):
    command = [sys.executable, "-c", RUN, "score", "05", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT)


@posix
def test_a_cluster_gives_the_same_files_as_this_machine_even_if_a_worker_dies(
    tmp_path, monkeypatch
):
    work, people, here, there = (tmp_path / name for name in ("work", "p.csv", "h.csv", "t.csv"))
    put_stage_05(work)
    monkeypatch.setenv("WORKSHOP_WORK", str(work))
    people.write_text("\n".join([HEADER, *ROWS * 25_000, ""]), encoding="utf-8")
    assert score(people, "-o", here).wait(PATIENCE) == 3, "a third of the rows are bad"
    # Without a nanny, which would restart the killed worker.
    with dask(tmp_path, 3, "--no-nanny") as (client, started):
        scoring = score(people, "-o", there, "--dask", client.scheduler.address)
        until(lambda: sum(done_by_each(client).values()) > 0)
        assert scoring.poll() is None, "it is still running"
        started[-1].kill()
        assert scoring.wait(PATIENCE) == 3
        assert len([done for done in done_by_each(client).values() if done]) == 2
    for kind in (".csv", ".bad.csv"):
        assert there.with_suffix(kind).read_bytes() == here.with_suffix(kind).read_bytes()


def test_the_notebook_s_model_search_runs_unchanged_on_a_cluster(client):
    notebook = nbformat.read(find_stage(5).notebook_files[1], as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    search = next(cell for cell in code if "GridSearchCV(" in cell.source)
    needed = what_they_need(code[: code.index(search) + 1], [search])
    # The same cell runs on this machine, then on the cluster, after one more line.
    lines = [
        "import joblib, matplotlib, numpy; matplotlib.use('agg')",
        *(cell.source for cell in needed),
        "here = search.cv_results_['mean_test_score']",
        "from distributed import Client",
        f"client = Client({client.scheduler.address!r})",
        "joblib.parallel_config('dask')",
        search.source,
        "numpy.testing.assert_allclose(search.cv_results_['mean_test_score'], here, atol=1e-12)",
        "print('SAME')",
    ]
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=ROOT / "notebooks",
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert run.stdout.splitlines()[-1:] == ["SAME"], run.stderr[-2000:]
    assert len([done for done in done_by_each(client).values() if done]) > 1


def assert_refused(address, folder, match):
    with pytest.raises(ClusterFailed, match=match), cluster.cluster(address, folder):
        pytest.fail("the block must not run")


def test_without_dask_it_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert_refused("tcp://127.0.0.1:8786", tmp_path, "not installed: .* uv pip install distributed")


def test_a_cluster_that_cannot_do_the_work_is_refused(client, monkeypatch, tmp_path):
    with dask(tmp_path, 0) as (empty, _):
        address = empty.scheduler.address
        assert_refused(address, tmp_path, f"no workers: start some with `dask worker {address}`")
    address = client.scheduler.address
    (tmp_path / "census_needs.py").write_text("import no_such_package", encoding="utf-8")
    assert_refused(address, tmp_path, "missing a package .*no_such_package")
    monkeypatch.setattr(cluster, "OURS", "0.24.2")
    assert_refused(address, tmp_path, "instead of 0.24.2: install requirements.txt on them")
    monkeypatch.setattr(cluster, "PATIENCE", 2)
    assert_refused("127.0.0.1:9", tmp_path, "No Dask scheduler is responding at .*: start one with")
