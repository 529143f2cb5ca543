"""What goes wrong in real rooms: other people's settings, damaged files, and typing mistakes."""

import os
import re

import pytest
import requests
from mirror_support import Server, http

from workshop.core.errors import WorkshopError
from workshop.core.stages import BASE, COPY, base
from workshop.host import start
from workshop.host.guard import THREADS, number
from workshop.host.ports import free_port
from workshop.learn import my_copy
from workshop.setup import environment, mirror
from workshop.setup.environment import find_environment
from workshop.setup.process import ROOT
from workshop.teach import doctor


def wrong(examination):
    """The texts of an examination's findings that aren't ok."""
    return [finding.text for finding in examination() if not finding.ok]


def test_a_notebook_that_cannot_be_opened_is_noticed_and_comes_back(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(my_copy, "COPIED", ("notebooks",))
    monkeypatch.setenv(BASE, str(tmp_path))
    my_copy.use_my_copy()
    file = tmp_path / "notebooks" / "01_hello.ipynb"
    was = file.read_bytes()
    for content in (was[:2000], b"<<<<<<< HEAD\n" + was, b"\xef\xbb\xbf" + was):
        assert wrong(doctor.notebooks) == []
        file.write_bytes(content)
        my_copy.use_my_copy()
        told = [*wrong(doctor.notebooks), capsys.readouterr().out]
        assert all("notebooks/01_hello.ipynb" in text and "rename" in text for text in told)
        file.rename(file.with_name("cut.txt"))
        my_copy.use_my_copy()
        assert file.read_bytes() == was


# Paths and other values


@pytest.mark.parametrize("written", ["~/mine", '"{}/mine"', "{}/mine ", "'{}/mine'"])
def test_a_folder_for_the_copy_as_people_write_it(tmp_path, monkeypatch, written):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(BASE, written.format(tmp_path))
    my_copy.use_my_copy(make=False)
    assert base() == tmp_path / "mine"
    monkeypatch.setenv(BASE, " ")
    assert base() in (COPY, ROOT), "as if it were not set"
    monkeypatch.setenv(BASE, f"14{os.pathsep}11")
    with pytest.raises(my_copy.CopyFailed, match="WORKSHOP_WORK"):
        my_copy.use_my_copy()
    assert not list(tmp_path.iterdir())


def test_values_may_have_quotes_and_must_be_numbers(monkeypatch):
    monkeypatch.setenv("WORKSHOP_NO_VENV", '"1" ')
    assert not find_environment().own
    monkeypatch.setenv(THREADS, '"4" ')
    assert number(THREADS, 128) == 4
    for text in ("four", "-1", "4.5"):
        monkeypatch.setenv(THREADS, text)
        with pytest.raises(WorkshopError, match=f"{THREADS} is '{text}': set it to a number"):
            number(THREADS, 128)


# Proxies and Jupyter's configuration


CONFIGURATION = """
c.ServerApp.base_url = "/elsewhere/"
c.ServerApp.token = c.IdentityProvider.token = ""
c.ServerApp.certfile = "/nowhere/certificate.pem"
c.ServerApp.contents_manager_class = "not_installed.Manager"
"""
SOCKS = "socks5://127.0.0.1:9"


@pytest.mark.parametrize(
    ("proxies", "direct"),
    [
        ({"HTTP_PROXY": "http://127.0.0.1:9"}, ["localhost", "127.0.0.1"]),
        ({"all_proxy": SOCKS, "no_proxy": "a, localhost"}, ["a", "localhost", "127.0.0.1"]),
        ({"HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": "*"}, ["*"]),
    ],
)
def test_requests_to_this_machine_bypass_the_proxy(monkeypatch, proxies, direct):
    for name in [name for name in os.environ if name.upper().endswith("_PROXY")]:
        monkeypatch.delenv(name)
    for name, value in ({"NO_PROXY": "", "no_proxy": ""} | proxies).items():
        monkeypatch.setenv(name, value)
    mirror.bypass_proxies_here()
    found = os.environ["NO_PROXY"] or os.environ["no_proxy"]
    assert [name.strip() for name in found.split(",")] == direct
    with Server(http(b"here")) as server:
        assert requests.get(server.url, timeout=5).text == "here"


@pytest.mark.parametrize("proxy", [SOCKS, "proxy.example:80"])
def test_jupyterlab_starts_despite_its_user_s_configuration(tmp_path, monkeypatch, proxy):
    (tmp_path / "jupyter_server_config.py").write_text(CONFIGURATION, encoding="utf-8")
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("JUPYTER_NO_CONFIG", "1" if proxy == SOCKS else "")
    monkeypatch.setenv("ALL_PROXY", proxy)
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


def test_a_package_is_damaged_if_a_file_is_missing_or_truncated(tmp_path, monkeypatch):
    about = tmp_path / "cut-1.0.dist-info"
    about.mkdir()
    (about / "RECORD").write_text("cut.py,sha256=0,6\n__pycache__/cut.cpython-311.pyc,,\n")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: cut\nVersion: 1.0\n")
    (tmp_path / "requirements.txt").write_text("cut==1.0\n")
    for module in (environment, doctor):
        monkeypatch.setattr(module, "LOCK", tmp_path / "requirements.txt")
    monkeypatch.syspath_prepend(tmp_path)
    [told] = wrong(doctor.lock)
    assert "cut.py" in told and "doctor --repair" in told
    (tmp_path / "cut.py").write_bytes(b"x = ")
    assert environment.damage() == {"cut": "cut.py"}
    (tmp_path / "cut.py").write_bytes(b"x = 1\n")
    assert environment.damage() == {}
    assert wrong(doctor.lock) == []


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


# Promises


def test_every_action_is_pinned_by_commit():
    folders = [ROOT, ROOT / "apps" / "07_yours"]
    files = [file for folder in folders for file in folder.glob(".github/workflows/*.yml")]
    used = [line for file in files for line in re.findall(r"uses: (.*)", file.read_text("utf-8"))]
    assert len(used) > 4
    assert [u for u in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", u)] == []
