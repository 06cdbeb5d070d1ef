"""The conda environments follow the lock, and hold what the scripts of their rules import."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name

from helpers.repository import REPOSITORY
from requirements.environments import close, environment_texts, read_headings, read_versions

SCRIPTS = REPOSITORY / "workflow" / "scripts"


def read_lock(name):
    return read_versions((REPOSITORY / "requirements" / name).read_text())


def pinned(environment):
    lines = re.findall(r"^ +- (\S+)==", (REPOSITORY / "envs" / f"{environment}.yaml").read_text(), flags=re.MULTILINE)
    return set(lines)


def rules():
    """(rule, environment, path of the script) of every rule that has a script."""
    found = []
    for path in sorted((REPOSITORY / "workflow" / "rules").glob("*.smk")):
        for block in re.split(r"^(?:rule|checkpoint) ", path.read_text(), flags=re.MULTILINE)[1:]:
            name = block.split(":")[0]
            script = re.search(r'script:\s*"([^"]+)"', block)
            if script is not None:
                conda = re.search(r'conda:\s*"[^"]*envs/(\w+)\.yaml"', block)
                found.append((name, conda and conda[1], (path.parent / script[1]).resolve()))
    return found


def imported(path, package=()):
    """(names in full, path within SCRIPTS) of what a module imports, wherever in it the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package, node.module or ""] if node.level else [node.module]).strip(".")
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def distributions_of(script):
    """The distributions that a script imports, by itself or through modules of ours."""
    installed = packages_distributions()
    queue, seen, found = [script], {script}, set()
    while queue:
        path = queue.pop()
        for name in imported(path, path.parent.relative_to(SCRIPTS).parts):
            top = name.split(".")[0]
            ours = SCRIPTS.joinpath(*name.split(".")).with_suffix(".py")
            if ours.is_file() and ours not in seen:
                seen.add(ours)
                queue.append(ours)
            if not (SCRIPTS / top).exists() and not ours.is_file() and top not in sys.stdlib_module_names:
                found |= {canonicalize_name(name) for name in installed[top]}
    return found


def test_envs_are_what_the_lock_makes_of_them():
    for name, text in environment_texts().items():
        assert (REPOSITORY / "envs" / f"{name}.yaml").read_text() == text, "run `make lock`"


def test_every_version_in_envs_is_the_locked_one():
    locked = read_lock("cpu.txt")
    for path in (REPOSITORY / "envs").glob("*.yaml"):
        pins = read_versions(path.read_text().replace(" - ", "\n"))
        assert len(pins) > 20
        assert pins == {name: locked[name] for name in pins}, path


def test_the_gpu_lock_differs_from_the_cpu_lock_only_by_what_it_adds():
    cpu, gpu = read_lock("cpu.txt"), read_lock("gpu.txt")
    assert {name: gpu.get(name) for name in cpu} == cpu
    assert any(name.startswith("nvidia-") for name in set(gpu) - set(cpu))


def test_only_the_network_environment_has_tensorflow():
    assert "tensorflow" in pinned("network")
    assert "tensorflow" not in pinned("images")


@pytest.mark.parametrize(("rule", "environment", "script"), rules(), ids=lambda value: getattr(value, "name", value))
def test_what_a_script_imports_is_in_its_environment(rule, environment, script):
    assert environment is not None, f"rule {rule} names no conda environment"
    assert distributions_of(script) - pinned(environment) == set()


def test_a_script_is_followed_into_modules_of_ours(tmp_path, monkeypatch):
    (tmp_path / "tessera" / "io").mkdir(parents=True)
    (tmp_path / "grow.py").write_text("import json\nfrom tessera.io.ome_zarr_store import open_array\n")
    (tmp_path / "tessera" / "io" / "ome_zarr_store.py").write_text("from tessera.io.pyramid import mean\n")
    (tmp_path / "tessera" / "io" / "pyramid.py").write_text(
        "def mean():\n    from skimage import measure\n    import PIL.Image\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "SCRIPTS", tmp_path)
    assert distributions_of(tmp_path / "grow.py") == {"scikit-image", "pillow"}


def test_requirements_are_read_by_heading():
    text = "# title.\n# arrays\nnumpy\nzarr >=3.1\n# networks\ntensorflow[and-cuda] ==2.21.*\n"
    assert read_headings(text) == {"arrays": ["numpy", "zarr"], "networks": ["tensorflow"]}


def test_versions_are_read_past_hashes_markers_and_extras():
    text = "zipp==4.1.2 ; python_full_version < '3.12' \\\n    --hash=sha256:00\nTF[and-cuda]==2.21.0 \\\n"
    assert read_versions(text) == {"zipp": "4.1.2", "tf": "2.21.0"}


def test_what_a_requirement_requires_is_found():
    names = close(["tf_keras"])
    assert {"tf-keras", "tensorflow", "numpy"} <= set(names)
    assert "pytest" not in names
