"""How long until an app answers its first request? Print it beside its target.

    python3 benchmarks/startup.py [RUNS]

Measures each stage that has an app, in fresh processes, by turns: the time of importing what the app uses,
that is, every module from outside its folder that is loaded once it has answered; and the time of importing
the app, making it with its model and answering `GET /`. The interpreter's own start counts in neither. The
target is a median ratio of at most 1.3. Ends with status 1 if a stage misses it.
"""

import statistics
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))  # for running as a script, from anywhere

from workshop.core.stages import Stage, stages_with_app  # noqa: E402

TARGET = 1.3
RUNS = 15

# Both programs print seconds. What they need for measuring is loaded before the clock starts: time
# is built in, and wsgiref (standard library) makes a request without loading Flask's test client.
IMPORTS = """
import importlib, time
from wsgiref.util import setup_testing_defaults
start = time.perf_counter()
for name in {names!r}:
    importlib.import_module(name)
print(time.perf_counter() - start)
"""
FIRST_REQUEST = """
import sys, time
from wsgiref.util import setup_testing_defaults
before = set(sys.modules)
sys.path.insert(0, {folder!r})
start = time.perf_counter()
from app import create_app
application = create_app()
environ = {{"PATH_INFO": "/"}}
setup_testing_defaults(environ)
statuses = []
body = b"".join(application(environ, lambda status, headers: statuses.append(status)))
seconds = time.perf_counter() - start
assert statuses == ["200 OK"] and body, statuses
print(seconds)
"""
# The modules in the order in which they were first asked for. Some packages make up modules that stand
# for others: those have no file, and can't be imported by their names.
LOADED = """
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None)
    spec = getattr(module, "__spec__", None)
    if name not in before and file and spec and spec.name == name and not file.startswith({folder!r}):
        print(name)
"""


def loaded_by(stage: Stage) -> list[str]:
    """The modules that an app uses for its first answer, those in its own folder left out."""
    folder = str(stage.folder)
    program = FIRST_REQUEST.format(folder=folder) + LOADED.format(folder=folder)
    return run(program).splitlines()[1:]


def run(program: str) -> str:
    """Run a program in a fresh interpreter; what it prints. Raises CalledProcessError."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def seconds_of(program: str) -> float:
    """The seconds that a program prints."""
    return float(run(program))


def measure(stage: Stage, runs: int) -> tuple[float, float, float]:
    """Medians over `runs` pairs: seconds of the imports, seconds to the first answer, ratio."""
    programs = (
        IMPORTS.format(names=loaded_by(stage)),
        FIRST_REQUEST.format(folder=str(stage.folder)),
    )
    for program in programs:
        seconds_of(program)  # fills the caches: compiled files, and the disk's
    pairs = [[seconds_of(program) for program in programs] for _ in range(runs)]
    ratios = [answer / imports for imports, answer in pairs]
    imports, answers = zip(*pairs, strict=True)
    return statistics.median(imports), statistics.median(answers), statistics.median(ratios)


def main() -> int:
    """Print one line for each stage; 1 if one misses the target."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    print(f"Median of {runs} runs; target for the ratio: at most {TARGET}")
    print(f"{'stage':<14} {'imports':>10} {'first answer':>13} {'ratio':>7}")
    missed = False
    for stage in stages_with_app():
        imports, answer, ratio = measure(stage, runs)
        verdict = "ok" if ratio <= TARGET else "missed"
        missed = missed or ratio > TARGET
        times = f"{imports * 1000:>7.0f} ms {answer * 1000:>10.0f} ms"
        print(f"{stage.slug:<14} {times} {ratio:>7.2f}  {verdict}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
