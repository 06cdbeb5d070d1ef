"""Write envs/images.yaml and envs/network.yaml, the environments of the rules for `snakemake --sdm conda`.

Both hold what their scripts import and everything below that, in the versions of requirements/cpu.txt;
envs/network.yaml has TensorFlow as well. `make lock` runs this.
"""

import re
from collections import deque
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
PYTHON = "3.12"
# {environment: headings of cpu.in whose requirements it gets}
HEADINGS = {
    "images": ["arrays, files", "images", "tracks", "report"],
    "network": ["arrays, files", "images", "report", "networks"],
}
TEMPLATE = """\
# Made by requirements/environments.py from requirements/cpu.txt; `make lock` renews it.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python ={python}
  - pip
  - pip:
{pins}
"""


def read_headings(text):
    """{heading: names of requirements} of a file like cpu.in, in which the comment above a group is its heading."""
    headings, heading = {}, None
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.removeprefix("#").strip()
        elif line.strip():
            headings.setdefault(heading, []).append(Requirement(line).name)
    return headings


def read_versions(text):
    """{canonical name: version} of a locked requirements file."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def close(names):
    """Canonical names of distributions and of all their installed dependencies, for Linux with PYTHON."""
    environment = default_environment() | {
        "python_version": PYTHON,
        "python_full_version": f"{PYTHON}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
    }
    queue = deque((canonicalize_name(name), "") for name in names)
    seen = set(queue)
    while queue:
        name, extra = queue.popleft()
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # needed by PYTHON, not by the Python that runs this
            lines = []
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate(environment | {"extra": extra}):
                for key in [(canonicalize_name(requirement.name), e) for e in {"", *requirement.extras}]:
                    if key not in seen:
                        seen.add(key)
                        queue.append(key)
    return sorted({name for name, _ in seen})


def environment_texts():
    """{name: text} of the files envs/{name}.yaml."""
    headings = read_headings((REPOSITORY / "requirements" / "cpu.in").read_text())
    versions = read_versions((REPOSITORY / "requirements" / "cpu.txt").read_text())
    texts = {}
    for environment, wanted in HEADINGS.items():
        names = close(name for heading in wanted for name in headings[heading])
        pins = "\n".join(f"      - {name}=={versions[name]}" for name in names)
        texts[environment] = TEMPLATE.format(python=PYTHON, pins=pins)
    return texts


if __name__ == "__main__":
    for environment, text in environment_texts().items():
        (REPOSITORY / "envs" / f"{environment}.yaml").write_text(text)
