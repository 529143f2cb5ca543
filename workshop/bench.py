"""How fast is it here? `python3 -m workshop bench` measures the workshop's promises side by side.

Whatever is compared runs in the same minutes on the same machine, by turns, and the medians of the
rounds count: so compare within one run, never between two. The result is a table of ratios, a plot, and all
figures as JSON with the machine and the versions. The programs that are measured are in `benchmarks/`.
"""

import contextlib
import csv
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
import psutil
from uv import find_uv_bin

from workshop.core import build as training
from workshop.core.errors import WorkshopError
from workshop.core.stages import find_stage, stages_with_app, stages_with_model
from workshop.host.running import START_LIMIT, Server, ServerDied, free_port, status_of
from workshop.host.server import SERVED, granian
from workshop.setup.process import ROOT

BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from load import CONNECTIONS, PERSON, http_load, http_request  # noqa: E402

NOTE = ROOT / "docs" / "speed.md"
PICTURE = ROOT / "docs" / "images" / "speed.svg"
BEGIN, END = (
    "<!-- made by `python3 -m workshop bench --docs` -->",
    "<!-- end of what bench made -->",
)
BASE_PYTHON = getattr(
    sys, "_base_executable", sys.executable
)  # outside of the workshop's environment
SET_UP = (BASE_PYTHON, "-m", "workshop", "--help")
PACKAGES = ("flask", "granian", "pydantic", "flask-openapi", "scikit-learn", "numpy", "pandas")
PEERS = ("fastapi", "uvicorn")
FAST_PARTS = (
    "uvloop; sys_platform != 'win32'",
    "httptools",
)  # what `uvicorn[standard]` adds for speed
OURS = "Flask, stage 05"


class BenchFailed(WorkshopError):
    """Something can't be measured here."""


@dataclass
class Figure:
    """One thing measured: the median of the rounds, and the lowest and highest."""

    section: str
    name: str
    unit: str
    median: float
    low: float
    high: float


@dataclass
class Ratio:
    """Two things compared: the median over the rounds of one divided by the other, and what is promised."""

    section: str
    name: str
    ratio: float
    goal: str
    met: bool


@dataclass
class Settings:
    """How long to measure. `people` is how many the largest scored file has."""

    rounds: int
    seconds: float
    people: int
    peers: bool


@dataclass
class Result:
    """All that one run found out."""

    made: str
    machine: dict[str, str]
    versions: dict[str, str]
    settings: Settings
    figures: list[Figure] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, section: str, name: str, unit: str, values: Sequence[float]) -> None:
        median = statistics.median(values)
        self.figures.append(Figure(section, name, unit, median, min(values), max(values)))

    def compare(self, section: str, name: str, ratios: Sequence[float], goal: str) -> None:
        """`goal` is "at least 0.9" or "at most 1.5"."""
        ratio, limit = statistics.median(ratios), float(goal.split()[-1])
        met = ratio >= limit if goal.startswith("at least") else ratio <= limit
        self.ratios.append(Ratio(section, name, ratio, goal, met))


def machine() -> dict[str, str]:
    """What was measured on; nothing that tells whose machine it is."""
    return {
        "processor": processor(),
        "cores": str(psutil.cpu_count() or "?"),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.machine()}",
    }


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version()} | found


# --- servers --------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(
    app: str, environ: dict[str, str] | None = None, healthy: str = "/healthz"
) -> Iterator[tuple[int, Server]]:
    """Serve a factory as `workshop serve` does, with one worker; its port, once it is well."""
    port = free_port()
    command = [*granian(app, "127.0.0.1", port), "--no-access-log", "--log-level", "error"]
    paths = os.pathsep.join([str(BENCHMARKS), str(ROOT)])
    server = Server(
        app, command, f"http://127.0.0.1:{port}", {"PYTHONPATH": paths, **(environ or {})}
    )
    with server:
        wait_until_well(server, healthy)
        yield port, server


def wait_until_well(server: Server, path: str) -> None:
    """Return when `path` answers 200: the model is loaded."""
    server.wait_until_ready()
    deadline = time.monotonic() + START_LIMIT
    while status_of(server.url + path) != 200:
        if time.monotonic() > deadline or not server.is_running():
            raise ServerDied(f"{server.name} is not well. Its log ends with:\n{server.log_end()}")
        time.sleep(0.1)


def megabytes_of_worker(server: Server) -> float:
    """What the worker holds in memory: shared pages counted in parts on Linux, its own elsewhere."""
    family = psutil.Process(server.process.pid).children(recursive=True)
    largest = max(family or [psutil.Process(server.process.pid)], key=lambda p: p.memory_info().rss)
    memory = largest.memory_full_info()
    return getattr(memory, "pss", memory.uss) / 1e6


def rate(
    load: Callable[[int, float], tuple[int, int]], port: int, seconds: float, name: str
) -> float:
    """Right answers a second. Raises `BenchFailed` if one was wrong."""
    load(port, min(1.0, seconds))  # warms it up
    right, wrong = load(port, seconds)
    if wrong or not right:
        raise BenchFailed(
            f"{name} gave {wrong:,} wrong answers of {right + wrong:,}: nothing to compare."
        )
    return right / seconds


# --- the sections ---------------------------------------------------------------------------------


def requests(result: Result) -> None:
    """One prediction behind HTTP: the app, the floor, and others."""
    section, settings = "requests", result.settings
    census = find_stage("census")
    body = json.dumps(PERSON).encode()
    probability = training.model_module(census).load().predict_probability(PERSON)

    def asked(path: str, expected: bytes) -> Callable[[int, float], tuple[int, int]]:
        return http_load(http_request("POST", path, body), expected)

    here = {
        "the floor: same server and app, no model": asked("/floor", b'"model_version"'),
        OURS: asked("/api/v1/predictions", start_of_answer(probability)),
        "Flask, plain pipeline": asked("/pipeline", start_of_answer(probability)),
    }
    rates: dict[str, list[float]] = {}
    memory = []
    with peers(result) as peer_servers:
        for _ in range(settings.rounds):
            with serving("floor:create_app") as (port, server):
                for name, load in here.items():
                    rates.setdefault(name, []).append(rate(load, port, settings.seconds, name))
                memory.append(megabytes_of_worker(server))
            for name, (start, path, expected) in peer_servers.items():
                with start() as port:
                    load = asked(path, expected)
                    rates.setdefault(name, []).append(rate(load, port, settings.seconds, name))
    for name, values in rates.items():
        result.add(section, name, "answers/s", values)
    compared = {
        "the floor": ("the floor: same server and app, no model", "at least 0.9"),
        "FastAPI, plain pipeline": ("FastAPI, plain pipeline", "at least 20"),
        "FastAPI, DictVectorizer": ("FastAPI, DictVectorizer", "at least 3"),
    }
    for name, (other, goal) in compared.items():
        if other in rates:
            ratios = [a / b for a, b in zip(rates[OURS], rates[other], strict=True)]
            result.compare(section, f"{OURS} / {name}", ratios, goal)


PeerServers = dict[str, tuple[Callable[[], contextlib.AbstractContextManager[int]], str, bytes]]


@contextlib.contextmanager
def peers(result: Result) -> Iterator[PeerServers]:
    """Give FastAPI's two servers: how each is started, the path to ask, and what a right answer holds."""
    if not result.settings.peers:
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        python = peer_environment(Path(folder, "environment"))
        if python is None:
            result.left_out.append("FastAPI: its packages can't be had here")
            yield {}
            return
        result.versions |= peer_versions(python)
        models = Path(folder, "models")
        expected = peer_models(models)

        @contextlib.contextmanager
        def start() -> Iterator[int]:
            port = free_port()
            command = ["uvicorn", "peers:app", "--port", port, "--log-level", "error"]
            environ = {"PYTHONPATH": str(BENCHMARKS), "BENCH_MODELS": str(models)}
            server = Server("FastAPI", command, f"http://127.0.0.1:{port}", environ)
            server.command[0] = str(python)
            with server:
                wait_until_well(server, "/healthz")
                yield port

        yield {
            "FastAPI, plain pipeline": (start, "/pipeline", expected["pipeline"]),
            "FastAPI, DictVectorizer": (start, "/dictionary", expected["dictionary"]),
        }


def uv(*arguments: object) -> list[str]:
    return [find_uv_bin(), *map(str, arguments)]


def peer_environment(folder: Path) -> Path | None:
    """An environment with FastAPI and our versions of what the model needs; None if it can't be had."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ours = ("scikit-learn", "numpy", "scipy", "pandas", "joblib", "pydantic")
    same = [f"{name}=={importlib.metadata.version(name)}" for name in ours]
    for command in (
        uv("venv", "--quiet", "--python", sys.executable, folder),
        uv("pip", "install", "--quiet", "--python", python, *PEERS, *FAST_PARTS, *same),
    ):
        if subprocess.run(command, capture_output=True).returncode:
            return None
    return python


def peer_versions(python: Path) -> dict[str, str]:
    names = ", ".join(repr(name) for name in PEERS)
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in ({names})}}))"
    run = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout)


def peer_models(folder: Path) -> dict[str, bytes]:
    """Put the two pipelines into `folder`; the start of the answer that each gives for the person."""
    import joblib
    import pandas as pd
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    from workshop.core.datasets import fetch_census

    folder.mkdir()
    train = fetch_census().train
    rows = train[list(PERSON)].to_dict("records")
    people = [
        {name: value for name, value in row.items() if value == value} for row in rows
    ]  # no nan
    model = make_pipeline(DictVectorizer(), MaxAbsScaler(), LogisticRegression(max_iter=1000))
    model.fit(people, train["income"])
    joblib.dump(model, folder / "dictionary.joblib")
    source = find_stage("census").folder / "model" / "census.joblib"
    shutil.copy(source, folder / "pipeline.joblib")
    answers = {
        "pipeline": joblib.load(source).predict_proba(pd.DataFrame([PERSON]))[0, 1],
        "dictionary": model.predict_proba([PERSON])[0, 1],
    }
    return {name: start_of_answer(float(answer)) for name, answer in answers.items()}


def start_of_answer(probability: float) -> bytes:
    """What a right answer holds; without the last digits, which hang on the order of a sum."""
    return f'"probability":{probability!r}'.encode()[:22]


def parts(result: Result) -> None:
    """What the time of one prediction goes into."""
    for name, values in run_program("parts.py", max(5, result.settings.rounds)).items():
        result.add("parts", name, "µs", values)


def batch(result: Result) -> None:
    """10,000 people in one call."""
    section = "batch"
    found = run_program("batch.py", max(5, result.settings.rounds))
    calls, pipelines = zip(*found["pairs"], strict=True)
    result.add(section, "10,000 people in one call", "s", calls)
    result.add(section, "parsing the body, one predict_proba", "s", pipelines)
    ratios = [call / pipeline for call, pipeline in found["pairs"]]
    result.compare(section, "one call / parsing and predict_proba", ratios, "at most 1.5")
    result.compare(section, "its memory / the body", [found["bodies"]], "at most 3")


def run_program(name: str, *arguments: object) -> dict:
    """The JSON that a program of `benchmarks/` prints. Raises `BenchFailed` with its last words."""
    command = [sys.executable, BENCHMARKS / name, *map(str, arguments)]
    environ = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environ)
    if run.returncode:
        raise BenchFailed(f"benchmarks/{name} failed: {run.stderr.strip()[-500:]}")
    return json.loads(run.stdout)


def score(result: Result) -> None:
    """A CSV file on disk; ten times the people must take the same memory."""
    section, people = "score", result.settings.people
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (people // 10, people):
            source = Path(folder, f"{count}.csv")
            write_people(source, count)
            command = [sys.executable, "-m", "workshop", "score", "05", source, "-o"]
            seconds, peak = watch([*command, Path(folder, "scored.csv")])
            peaks.append(peak)
            result.add(section, f"{count:,} people, whole command", "s", [seconds])
            result.add(section, f"{count:,} people, memory at most", "MB", [peak])
    result.compare(section, "memory for ten times the people", [peaks[1] / peaks[0]], "at most 1.1")


def write_people(file: Path, count: int) -> None:
    """A CSV file of people who don't exist."""
    from batch import make_people

    card = training.model_module(find_stage("census")).load().card
    some = make_people(card, min(count, 10_000))
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, fieldnames=list(PERSON))
        writer.writeheader()
        for start in range(0, count, len(some)):
            writer.writerows(some[: count - start])


def watch(command: Sequence[object]) -> tuple[float, float]:
    """Run a command; its seconds, and the most megabytes that it and what it started had."""
    start, peak = time.perf_counter(), 0.0
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=log, stderr=log)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                family = [watched, *watched.children(recursive=True)]
                peak = max(peak, sum(each.memory_info().rss for each in family) / 1e6)
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        if process.returncode:
            log.seek(0)
            told = log.read().decode("utf-8", "replace").strip()
            raise BenchFailed(f"`{' '.join(map(str, command[1:5]))}` failed: {told[-500:]}")
    return seconds, peak


def startup(result: Result) -> None:
    """Each stage's time to its first answer, beside the imports of what it uses."""
    from startup import TARGET, measure

    for stage in stages_with_app():
        imports, answer, ratio = measure(stage, max(5, result.settings.rounds))
        result.add("start-up", f"{stage.slug}, imports", "s", [imports])
        result.add("start-up", f"{stage.slug}, first answer", "s", [answer])
        name = f"{stage.slug}: first answer / imports"
        result.compare("start-up", name, [ratio], f"at most {TARGET}")


def memory(result: Result) -> None:
    """What one worker of each stage holds, once it has answered."""
    for stage in stages_with_app():
        healthy = "/healthz" if stage.model else "/"
        with serving("workshop.host.server:create_app", {SERVED: stage.slug}, healthy) as (
            _,
            server,
        ):
            result.add("memory", f"{stage.slug}, one worker", "MB", [megabytes_of_worker(server)])


def setup(result: Result) -> None:
    """The workshop's set-up beside `uv pip install` of the same lock, each from nothing.

    First with all packages in uv's cache, then with an empty one, as on a computer that is new to them.
    """
    rounds = max(3, result.settings.rounds // 2)
    ways = {
        "the workshop's set-up": set_up_with_uv,
        "the workshop's set-up, no uv yet": set_up_without_uv,
        "uv venv, uv pip install": uv_alone,
    }
    try:
        seconds_from_nothing(uv_alone, cached=True)  # fills uv's cache, and is nobody's measure
        for which, cached in {"": True, ", empty cache": False}.items():
            measured = [
                [seconds_from_nothing(way, cached) for way in ways.values()] for _ in range(rounds)
            ]
            for name, seconds in zip(ways, zip(*measured, strict=True), strict=True):
                result.add("set-up", f"{name}{which}", "s", seconds)
            ratios = [ours / plain for ours, _, plain in measured]
            result.compare("set-up", f"set-up / uv pip install{which}", ratios, "at most 1.25")
    except subprocess.CalledProcessError:
        result.left_out.append("set-up: the packages can't be had here")


def seconds_from_nothing(way: Callable[[Path, dict[str, str]], None], cached: bool) -> float:
    """How long `way` takes in a folder of its own. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        copy_workshop(Path(folder, "workshop"))
        settings = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        if not cached:
            settings |= {"UV_CACHE_DIR": f"{folder}/uv", "PIP_CACHE_DIR": f"{folder}/pip"}
        start = time.perf_counter()
        way(Path(folder, "workshop"), settings)
        return time.perf_counter() - start


def set_up_with_uv(folder: Path, settings: dict[str, str]) -> None:
    """The workshop's set-up on a computer that has uv."""
    paths = [Path(find_uv_bin()).parent, settings["PATH"]]
    run(SET_UP, folder, settings | {"PATH": os.pathsep.join(map(str, paths))})


def set_up_without_uv(folder: Path, settings: dict[str, str]) -> None:
    """The same where pip gets uv first."""
    paths = [
        path for path in settings["PATH"].split(os.pathsep) if not shutil.which("uv", path=path)
    ]
    run(SET_UP, folder, settings | {"PATH": os.pathsep.join(paths)})


def uv_alone(folder: Path, settings: dict[str, str]) -> None:
    """What uv takes for the environment and the lock, without the workshop."""
    environment = folder / "plain"
    run(uv("venv", "--quiet", "--python", BASE_PYTHON, environment), folder, settings)
    install = uv("pip", "install", "--quiet", "--python", environment, "-r", "requirements.txt")
    run(install, folder, settings)


def run(command: Sequence[object], folder: Path, settings: dict[str, str]) -> None:
    subprocess.run(command, cwd=folder, env=settings, capture_output=True, check=True)


def copy_workshop(place: Path) -> None:
    """What set-up needs of the repository, in a folder of its own."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "workshop", place / "workshop", ignore=ignored)
    for name in ("pyproject.toml", "requirements.txt", "README.md"):
        shutil.copy(ROOT / name, place)


SECTIONS: dict[str, Callable[[Result], None]] = {
    "requests": requests,
    "parts": parts,
    "batch": batch,
    "score": score,
    "start-up": startup,
    "memory": memory,
    "set-up": setup,
}


# --- the result -----------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is as easy to read in a terminal; all columns but the first to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(padded)} |"

    rule = [
        f"{'-' * width}" if not i else f"{'-' * (width - 1)}:" for i, width in enumerate(widths)
    ]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def number(value: float) -> str:
    """Three digits, as far as they say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def as_text(result: dict) -> str:
    """The tables, the machine and the versions, from what `bench.json` holds."""
    ratios = [
        [each["name"], number(each["ratio"]), each["goal"], "yes" if each["met"] else "**no**"]
        for each in result["ratios"]
    ]
    figures = [
        [each["name"], *(number(each[key]) for key in ("median", "low", "high")), each["unit"]]
        for each in result["figures"]
    ]
    about = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    settings = result["settings"]
    parts = [
        table(["compared", "ratio", "goal", "reached"], ratios),
        table(["measured", "median", "lowest", "highest", "unit"], figures),
        f"{CONNECTIONS} connections, one worker; {settings['rounds']} rounds of "
        f"{settings['seconds']:g} s. {result['machine']['processor']}, {result['machine']['cores']} cores, "
        f"{result['machine']['memory']}, {result['machine']['system']}. {about}. {result['made']}.",
        *(f"Left out: {reason}." for reason in result["left_out"]),
    ]
    return "\n\n".join(part for part in parts if part.count("\n") != 1)  # no table without rows


def draw(result: dict, file: Path) -> None:
    """Answers a second as bars, from what `bench.json` holds."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    shown = [each for each in result["figures"] if each["section"] == "requests"]
    mpl.rcParams["svg.hashsalt"] = "workshop"  # the same figures make the same file
    figure, axes = plt.subplots(figsize=(7, 0.6 + 0.45 * len(shown)), layout="constrained")
    colours = ["tab:orange" if each["name"] == OURS else "tab:blue" for each in shown]
    bars = axes.barh(
        [each["name"] for each in shown], [each["median"] for each in shown], color=colours
    )
    axes.bar_label(bars, [f"{each['median']:,.0f}" for each in shown], padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("answers per second, one worker")
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def write_docs(result: dict) -> None:
    """Put the tables and the plot into `docs/`, and what they were made from beside the plot."""
    text = NOTE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    NOTE.write_text(f"{before}{BEGIN}\n\n{as_text(result)}\n\n{END}{after}", encoding="utf-8")
    draw(result, PICTURE)
    save(result, PICTURE.with_suffix(".json"))


def save(result: dict, file: Path) -> None:
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def bench(settings: Settings, sections: Sequence[str], folder: Path, docs: bool) -> int:
    """Measure, print the tables, and write `bench.json` and `bench.svg` into `folder`.

    Returns 1 if a goal was missed. Raises `WorkshopError` if something can't be measured.
    """
    for stage in stages_with_model():
        if not stage.card_file.exists():
            click.echo(f"Training the model of stage {stage.code} ...", err=True)
            training.train(stage)
    made = datetime.datetime.now(datetime.UTC).date().isoformat()
    result = Result(made, machine(), versions(), settings)
    for name in sections or SECTIONS:
        click.echo(f"Measuring {name} ...", err=True)
        SECTIONS[name](result)
    folder.mkdir(parents=True, exist_ok=True)
    found = asdict(result)
    save(found, folder / "bench.json")
    click.echo(as_text(found))
    if any(each.section == "requests" for each in result.figures):
        draw(found, folder / "bench.svg")
    if docs:
        write_docs(found)
    click.echo(f"\nAll figures, and a plot: {folder}", err=True)
    return 0 if all(each.met for each in result.ratios) else 1
