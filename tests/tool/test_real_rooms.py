"""What goes wrong in real rooms: other people's settings, damaged files, and slips of the hand."""

import json
import re
import socket

import pytest
from mirror_support import Server

from workshop.core.stages import BASE, COPY, base
from workshop.host.ports import free_port, is_free
from workshop.learn import my_copy
from workshop.setup import process
from workshop.setup.environment import find_environment
from workshop.setup.process import ROOT
from workshop.teach import doctor


def wrong(examination):
    """The texts of what an examination of the doctor's finds wrong."""
    return [finding.text for finding in examination() if not finding.well]


# Ports


def test_a_port_that_is_suggested_is_free(monkeypatch):
    with Server(b"SSH-2.0-OpenSSH\r\n") as taken:
        monkeypatch.setattr(doctor, "GALLERY_PORT", taken.port)
        monkeypatch.setattr(doctor, "LAB_PORT", free_port())
        (text,) = wrong(doctor.ports)
        suggested = int(re.search(r"start --port (\d+)", text)[1])
        assert is_free(suggested)
        with socket.create_server(("127.0.0.1", suggested)):
            (text,) = wrong(doctor.ports)
            assert is_free(int(re.search(r"start --port (\d+)", text)[1]))


# Notebooks


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A learner's copy of the first notebook."""
    root = tmp_path / "the workshop"
    (root / "notebooks").mkdir(parents=True)
    name = "notebooks/01_hello.ipynb"
    (root / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(my_copy, "ROOT", root)
    monkeypatch.setattr(my_copy, "COPIED", ("notebooks",))
    monkeypatch.setenv(BASE, str(root / "work"))
    my_copy.use_my_copy()
    return root / "work"


def test_an_empty_cell_at_the_end_is_jupyterlab_s_and_a_filled_one_the_learner_s(copy):
    file = copy / "notebooks" / "01_hello.ipynb"
    notebook = json.loads(file.read_bytes())
    kept = []
    for source in ([], ["x = 1"]):
        cell = {"cell_type": "code", "id": "new", "metadata": {}, "outputs": [], "source": source}
        notebook["cells"].append(cell)
        file.write_text(json.dumps(notebook), encoding="utf-8")
        kept.append(my_copy.bring_up_to_date(copy).kept)
    assert kept == [[], [file.relative_to(copy)]]


@pytest.mark.parametrize("size", [0, 1, 2000])
def test_a_notebook_that_is_cut_short_is_noticed_and_comes_back(copy, capsys, size):
    file = copy / "notebooks" / "01_hello.ipynb"
    assert wrong(doctor.notebooks) == []
    file.write_bytes(file.read_bytes()[:size])
    my_copy.use_my_copy()
    told = [*wrong(doctor.notebooks), capsys.readouterr().out]
    assert all("notebooks/01_hello.ipynb" in text and "rename" in text for text in told)
    file.rename(file.with_name("cut.ipynb"))
    my_copy.use_my_copy()
    assert wrong(doctor.notebooks) == []
    assert file.read_bytes() == (ROOT / "notebooks" / "01_hello.ipynb").read_bytes()


# Paths and other values


@pytest.mark.parametrize(("before", "after"), [("~/", ""), ('"', '"'), ("", " "), ("'", "'")])
def test_a_folder_for_the_copy_as_people_write_it(tmp_path, monkeypatch, before, after):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    place = "mine" if before == "~/" else tmp_path / "mine"
    monkeypatch.setenv(BASE, f"{before}{place}{after}")
    my_copy.use_my_copy(make=False)
    assert base() == tmp_path / "mine"
    assert base().is_absolute()
    monkeypatch.setenv(BASE, " ")
    assert base() in (COPY, ROOT), "as if it were not set"


def test_other_values_may_have_quotes_too(monkeypatch):
    monkeypatch.setenv("WORKSHOP_NO_VENV", '"1" ')
    assert not find_environment().own
    assert process.setting("WORKSHOP_NO_VENV") == "1"
