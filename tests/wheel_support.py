"""A small workshop to set up, and wheels for it, repacked from installed packages: nothing is downloaded."""

import base64
import csv
import hashlib
import importlib.metadata
import io
import os
import shutil
import sys
import zipfile
from pathlib import Path

from packaging.utils import parse_wheel_filename

from workshop.setup.process import ROOT

LEFT_OUT = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json")


def pack(name, folder):
    """Repack the wheel of an installed package. Files outside it, such as programs, go to the wheel's
    scripts or data."""
    distribution = importlib.metadata.distribution(name)
    stem = f"{name.replace('-', '_')}-{distribution.version}"
    wrappers = {entry.name for entry in distribution.entry_points}
    members = {}
    for file in distribution.files:
        if file.name in LEFT_OUT or "__pycache__" in file.parts:
            continue
        member = file.as_posix()
        if ".." in file.parts:
            place = Path(os.path.normpath(distribution.locate_file(file)))
            place = place.relative_to(sys.prefix).as_posix()
            if place.startswith(("bin/", "Scripts/")):
                if file.stem in wrappers:
                    continue  # an installer makes it from entry_points.txt
                member = f"{stem}.data/scripts/{file.name}"
            else:
                member = f"{stem}.data/data/{place}"
        members[member] = file.read_binary()
    lines = distribution.read_text("WHEEL").splitlines()
    tags = [line.partition(": ")[2].split("-") for line in lines if line.startswith("Tag: ")]
    tag = "-".join(".".join(sorted(set(part))) for part in zip(*tags, strict=True))
    write_wheel(folder / f"{stem}-{tag}.whl", stem, members)


def write_wheel(file, stem, members):
    """Write a wheel of `members`, names and contents, with the record that installers verify."""
    record = io.StringIO()
    writer = csv.writer(record, lineterminator="\n")
    for member, content in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        writer.writerow([member, f"sha256={digest}", len(content)])
    writer.writerow([f"{stem}.dist-info/RECORD", "", ""])
    members = members | {f"{stem}.dist-info/RECORD": record.getvalue().encode()}
    with zipfile.ZipFile(file, "w") as wheel:
        for member, content in members.items():
            entry = zipfile.ZipInfo(member)
            entry.external_attr = (0o100755 if ".data/scripts/" in member else 0o100644) << 16
            wheel.writestr(entry, content)


def lock_of(folder):
    """A lock of the wheels in a folder, with their hashes."""
    entries = {}
    for wheel in sorted(folder.glob("*.whl")):
        name, version, *_ = parse_wheel_filename(wheel.name)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        entries.setdefault(f"{name}=={version}", []).append(f"    --hash=sha256:{digest}")
    return "".join(" \\\n".join([pin, *hashes]) + "\n" for pin, hashes in entries.items())


def exchange(wheel):
    """Replace a wheel by a working one with the same name and one more file."""
    stem = "-".join(wheel.name.split("-")[:2])
    with zipfile.ZipFile(wheel) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    del members[f"{stem}.dist-info/RECORD"]
    write_wheel(wheel, stem, members | {"exchanged.py": b""})


def pretend(file_name, folder):
    """Write an empty wheel with a name such as `numpy-2.5.5-cp312-cp312-win_amd64.whl`."""
    name, version, *_, python, abi, platform = file_name.removesuffix(".whl").split("-")
    stem = f"{name}-{version}"
    tags = [f"{p}-{a}-{s}" for p in python.split(".") for a in [abi] for s in platform.split(".")]
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    kind = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
    write_wheel(
        folder / file_name,
        stem,
        {
            f"{stem}.dist-info/METADATA": about.encode(),
            f"{stem}.dist-info/WHEEL": (kind + "".join(f"Tag: {tag}\n" for tag in tags)).encode(),
        },
    )


# The workshop

LOCKED = ("click", "flit-core", "uv", *(["colorama"] if os.name == "nt" else []))


def make_house(folder):
    """The files of the repository that set-up needs, with the small lock."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "workshop", folder / "workshop", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in LOCKED]
    (folder / "requirements.txt").write_text("\n".join([*pins, ""]), encoding="utf-8")
    return folder


def environ(**more):
    """Environment variables with which no package index can be reached."""
    dropped = ("WORKSHOP_", "PIP_", "UV_", "PYTHON", "VIRTUAL_ENV", "ALL_PROXY")
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(dropped)}
    # Hide this computer's uv, so that set-up installs its own.
    folders = os.environ["PATH"].split(os.pathsep)
    kept["PATH"] = os.pathsep.join(f for f in folders if not shutil.which("uv", path=f))
    nowhere = "http://127.0.0.1:9"
    proxies = {"HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "NO_PROXY": ""}
    kept = {k: v for k, v in kept.items() if k.upper() not in proxies}
    quiet = {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", "PYTHONUTF8": "1"}
    return kept | proxies | quiet | more
