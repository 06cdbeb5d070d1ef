"""Processes that a benchmark asks for figures: the scripts of `peers`."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent
PEERS = BENCH / "peers"


def ask(task, *, settings=({},), python=sys.executable, **arguments):
    """What a script of `peers` answers for each of `settings`, in a process of its own."""
    text = json.dumps(arguments | {"settings": list(settings)}, default=str)
    environment = os.environ | {"PYTHONPATH": str(BENCH.parent / "workflow" / "scripts")}
    command = [python, PEERS / f"{task}.py", text]
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"{task} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def best_of(task, settings, **arguments):
    """The quickest of `settings`; by pixels where the task counts them."""
    answers = ask(task, settings=settings, **arguments)
    rates = [answer.get("computed_px", 1) / answer["seconds"] for answer in answers]
    for setting, rate in zip(settings, rates, strict=True):
        figure = f"{rate / 1e6:.2f} Mpx/s" if "computed_px" in answers[0] else f"{1 / rate:.1f} s"
        print(f"{task} {setting}: {figure}", flush=True)
    return settings[rates.index(max(rates))]


def python_with(requirements, folder):
    """The Python of a virtual environment with what a file of `peers` lists, made in `folder` where there is none."""
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", PEERS / requirements], check=True)
        ready.touch()
    return python
