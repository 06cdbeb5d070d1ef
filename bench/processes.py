"""Runs the scripts of `peers`, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent
PEERS = BENCH / "peers"


def ask(task, *, settings=({},), python=sys.executable, **arguments):
    """Run a script of `peers` in a process of its own.

    Args:
        task: name of the script.
        settings: the script handles each of these in turn.
        python: Python to run it with.
        arguments: arguments that all settings share.

    Returns:
        The answer for each of `settings`.
    """
    text = json.dumps(arguments | {"settings": list(settings)}, default=str)
    environment = os.environ | {"PYTHONPATH": str(BENCH.parent / "workflow" / "scripts")}
    command = [python, PEERS / f"{task}.py", text]
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"{task} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def best_of(task, settings, **arguments):
    """The fastest of `settings`: by pixels per second if the task counts pixels, else by time."""
    answers = ask(task, settings=settings, **arguments)
    rates = [answer.get("computed_px", 1) / answer["seconds"] for answer in answers]
    for setting, rate in zip(settings, rates, strict=True):
        figure = f"{rate / 1e6:.2f} Mpx/s" if "computed_px" in answers[0] else f"{1 / rate:.1f} s"
        print(f"{task} {setting}: {figure}", flush=True)
    return settings[rates.index(max(rates))]


def python_with(requirements, folder):
    """Python of a virtual environment in `folder` with the requirements of a file of `peers`. Makes it if needed."""
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", PEERS / requirements], check=True)
        ready.touch()
    return python
