"""What goes wrong in real rooms: other people's settings, damaged files, and typing mistakes."""

import json
import os
import py_compile
import re
from pathlib import Path

import pytest
import requests
from mirror_support import Server, http

from workshop import fetch_census
from workshop.core.errors import WorkshopError
from workshop.core.stages import BASE, COPY, base
from workshop.host import start
from workshop.host.guard import MOST_THREADS, THREADS, TRUSTED_PROXIES, Share, number
from workshop.host.ports import free_port
from workshop.learn import my_copy
from workshop.setup import environment, mirror
from workshop.setup.environment import find_environment
from workshop.setup.process import ROOT
from workshop.teach import doctor


def wrong(examination):
    """The texts of an examination's findings that aren't ok."""
    return [finding.text for finding in examination() if not finding.ok]


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


def test_an_empty_last_cell_is_no_change_and_a_filled_one_is(copy):
    file = copy / "notebooks" / "01_hello.ipynb"
    notebook = json.loads(file.read_bytes())
    kept = []
    for source in ([], ["x = 1"]):
        cell = {"cell_type": "code", "id": "new", "metadata": {}, "outputs": [], "source": source}
        notebook["cells"].append(cell)
        file.write_text(json.dumps(notebook), encoding="utf-8")
        kept.append(my_copy.bring_up_to_date(copy).kept)
    assert kept == [[], [file.relative_to(copy)]]


@pytest.mark.parametrize(
    "change",
    [
        lambda was: was[:2000],
        lambda was: b"<<<<<<< HEAD\n" + was,
        lambda was: b"\xef\xbb\xbf" + was,
    ],
    ids=["cut", "in conflict", "with a byte-order mark"],
)
def test_a_notebook_that_cannot_be_opened_is_noticed_and_comes_back(copy, capsys, change):
    file = copy / "notebooks" / "01_hello.ipynb"
    assert wrong(doctor.notebooks) == []
    file.write_bytes(change(file.read_bytes()))
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


@pytest.mark.parametrize("name", [f"14{os.pathsep}11", "two\nlines"])
def test_a_folder_for_the_copy_that_a_tool_would_misread_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv(BASE, str(tmp_path / name))
    with pytest.raises(my_copy.CopyFailed, match="WORKSHOP_WORK"):
        my_copy.use_my_copy()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [THREADS, TRUSTED_PROXIES])
def test_values_may_have_quotes_and_must_be_numbers(monkeypatch, name):
    monkeypatch.setenv("WORKSHOP_NO_VENV", '"1" ')
    assert not find_environment().own
    monkeypatch.setenv(name, '"4" ')
    assert number(name, 128) == 4
    for text in ("four", "-1", "4.5"):
        monkeypatch.setenv(name, text)
        with pytest.raises(WorkshopError, match=f"{name} is '{text}': set it to a number"):
            number(name, 128)


# Proxies and Jupyter's configuration

CONFIGURATION = """
c.ServerApp.base_url = "/elsewhere/"
c.ServerApp.token = c.IdentityProvider.token = ""
c.ServerApp.certfile = "/nowhere/certificate.pem"
c.ServerApp.contents_manager_class = "not_installed.Manager"
"""


NOWHERE, SOCKS = "http://127.0.0.1:9", "socks5://127.0.0.1:9"


@pytest.fixture
def set_proxies(monkeypatch):
    """Sets only these proxy variables; the old ones come back after the test."""
    for name in [name for name in os.environ if name.upper().endswith("_PROXY")]:
        monkeypatch.delenv(name)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")

    def set_them(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_them


@pytest.mark.parametrize(
    ("proxies", "direct"),
    [
        ({"HTTP_PROXY": NOWHERE}, ["localhost", "127.0.0.1"]),
        ({"all_proxy": SOCKS, "no_proxy": "a, localhost"}, ["a", "localhost", "127.0.0.1"]),
        ({"HTTP_PROXY": NOWHERE, "no_proxy": "*"}, ["*"]),
        ({}, [""]),
    ],
)
def test_requests_to_this_machine_bypass_the_proxy(set_proxies, proxies, direct):
    set_proxies(**proxies)
    mirror.bypass_proxies_here()
    found = os.environ["NO_PROXY"] or os.environ["no_proxy"]
    assert [name.strip() for name in found.split(",")] == direct
    with Server(http(b"here")) as server:
        assert requests.get(server.url, timeout=5).text == "here"


@pytest.mark.parametrize("proxy", [SOCKS, "proxy.example:80"])
def test_jupyterlab_starts_despite_its_user_s_configuration(
    tmp_path, monkeypatch, set_proxies, proxy
):
    (tmp_path / "jupyter_server_config.py").write_text(CONFIGURATION, encoding="utf-8")
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("JUPYTER_NO_CONFIG", "1" if proxy == SOCKS else "")
    set_proxies(ALL_PROXY=proxy)
    with start.lab_server(free_port(), "secret", "http://127.0.0.1:9") as lab:
        lab.wait_until_ready()

        def get(path):
            return requests.get(f"{lab.url}{path}?token=secret", timeout=10).json()

        settings = get("/lab/api/settings")["settings"]
        (news,) = [each for each in settings if each["id"].endswith("extension:notification")]
        assert news["schema"]["properties"]["fetchNews"]["default"] == "false", "our own setting"
        assert get("/api/terminals") == []
        assert requests.get(f"{lab.url}/api/terminals", timeout=10).status_code == 403


# Damaged packages, and files that hide modules


@pytest.mark.parametrize(("content", "is_damaged"), [(b"x = 1\n", 0), (b"x = ", 1), (None, 1)])
def test_a_package_is_damaged_if_a_file_is_missing_or_truncated(
    tmp_path, monkeypatch, content, is_damaged
):
    (tmp_path / "cut-1.0.dist-info").mkdir()
    record = "cut.py,sha256=0,6\ncut-1.0.dist-info/RECORD,,\n__pycache__/cut.cpython-311.pyc,,\n"
    (tmp_path / "cut-1.0.dist-info" / "RECORD").write_text(record, encoding="utf-8")
    about = "Metadata-Version: 2.1\nName: cut\nVersion: 1.0\n"
    (tmp_path / "cut-1.0.dist-info" / "METADATA").write_text(about, encoding="utf-8")
    if content is not None:
        (tmp_path / "cut.py").write_bytes(content)
    (tmp_path / "requirements.txt").write_text("cut==1.0\n", encoding="utf-8")
    for module in (environment, doctor):
        monkeypatch.setattr(module, "LOCK", tmp_path / "requirements.txt")
    monkeypatch.syspath_prepend(tmp_path)
    assert environment.damage() == ({"cut": "cut.py"} if is_damaged else {})
    told = wrong(doctor.lock)
    assert len(told) == is_damaged
    assert all("cut.py" in text and "doctor --repair" in text for text in told)


def test_truncated_bytecode_is_deleted(tmp_path):
    (tmp_path / "module.py").write_text("x = 1\n", encoding="utf-8")
    compiled = Path(py_compile.compile(tmp_path / "module.py"))
    environment.drop_cut(compiled)
    assert compiled.exists()
    compiled.write_bytes(compiled.read_bytes()[:-9])
    for _ in range(2):
        environment.drop_cut(compiled)
        assert not compiled.exists()


def test_files_that_hide_modules_are_named_and_nothing_else_is_blamed(tmp_path, monkeypatch):
    monkeypatch.setenv(BASE, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "mine"))
    assert wrong(doctor.modules) == []
    names = "notebooks/random.py", "apps/01_hello/flask.py", "apps/me/numpy/__init__.py"
    for file in (tmp_path / name for name in (*names, "mine/click.py")):
        file.parent.mkdir(parents=True)
        file.touch()
    *found, rest = doctor.examine()
    bad = "\n".join(finding.text for finding in found if not finding.ok)
    for name in (*names, "mine/click.py"):
        assert str(tmp_path / name.removesuffix("/__init__.py")) in bad
    assert bad.count("rename") == 4
    assert "unset PYTHONPATH" in bad
    assert rest.note, "the rest isn't checked yet"


# A room with a mirror


@pytest.mark.parametrize("named", [False, True])
def test_without_the_real_data_a_forgotten_mirror_is_mentioned(tmp_path, monkeypatch, named):
    monkeypatch.setattr(mirror, "MARKER", "no kit.json")
    monkeypatch.setenv("WORKSHOP_OFFLINE", "1")
    monkeypatch.setenv("WORKSHOP_MIRROR", str(tmp_path) if named else "")
    note = fetch_census(tmp_path).note
    assert ("set WORKSHOP_MIRROR to" in note) != named
    if not named:
        (finding,) = doctor.mirror()
        assert finding.ok
        assert "set WORKSHOP_MIRROR to" in finding.text


# Promises


def test_every_action_is_pinned_by_commit():
    folders = [ROOT, ROOT / "apps" / "07_yours"]
    files = [file for folder in folders for file in folder.glob(".github/workflows/*.yml")]
    used = [line for file in files for line in re.findall(r"uses: (.*)", file.read_text("utf-8"))]
    assert len(used) > 4
    assert [u for u in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", u)] == []


def test_the_limits_on_bodies_are_those_in_the_page_on_security():
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    share = Share(MOST_THREADS)
    for limit in (
        f"{MOST_THREADS} threads",
        f"Up to {share.most} of",
        f"at most {share.most_for_one} for",
    ):
        assert limit in text
    held = {address: sum(share.take(address) for _ in range(200)) for address in ("a", "b", "c")}
    assert held == {"a": share.most_for_one, "b": share.most_for_one, "c": 0}
