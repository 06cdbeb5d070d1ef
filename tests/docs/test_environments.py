"""The conda environments follow the lock and contain what the scripts of their rules import."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name

from helpers.repository import REPOSITORY
from requirements.environments import close, environment_texts, read_headings, read_versions
from tessera.common.image_formats import FORMATS

SCRIPTS = REPOSITORY / "workflow" / "scripts"


def read_lock(name):
    return read_versions((REPOSITORY / "requirements" / name).read_text())


def pinned(environment):
    """Names of the packages that a conda environment pins."""
    lines = re.findall(r"^ +- (\S+)==", (REPOSITORY / "envs" / f"{environment}.yaml").read_text(), flags=re.MULTILINE)
    return set(lines)


def rules():
    """(rule, environment, path of the script) of every rule with a script."""
    rules_with_script = []
    for path in sorted((REPOSITORY / "workflow" / "rules").glob("*.smk")):
        for block in re.split(r"^(?:rule|checkpoint) ", path.read_text(), flags=re.MULTILINE)[1:]:
            name = block.split(":")[0]
            script = re.search(r'script:\s*"([^"]+)"', block)
            if script is not None:
                conda = re.search(r'conda:\s*"[^"]*envs/(\w+)\.yaml"', block)
                rules_with_script.append((name, conda and conda[1], (path.parent / script[1]).resolve()))
    return rules_with_script


def imported(path, package=()):
    """Full names of what a module imports, at its top or inside functions.

    Args:
        path: the module.
        package: its package, as parts of its path below SCRIPTS, to resolve relative imports.
    """
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package, node.module or ""] if node.level else [node.module]).strip(".")
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def distributions_of(script):
    """The distributions that a script imports, directly or through modules of Tessera, without optional readers."""
    optional = {format_.package for format_ in FORMATS.values()}
    installed = packages_distributions()
    queue, seen, distributions = [script], {script}, set()
    while queue:
        path = queue.pop()
        for name in imported(path, path.parent.relative_to(SCRIPTS).parts):
            top = name.split(".")[0]
            module = SCRIPTS.joinpath(*name.split(".")).with_suffix(".py")
            if module.is_file() and module not in seen:
                seen.add(module)
                queue.append(module)
            if (
                not (SCRIPTS / top).exists()
                and top not in optional
                and not module.is_file()
                and top not in sys.stdlib_module_names
            ):
                distributions |= {canonicalize_name(name) for name in installed[top]}
    return distributions


def test_conda_environments_are_generated_from_the_lock():
    for name, text in environment_texts().items():
        assert (REPOSITORY / "envs" / f"{name}.yaml").read_text() == text, "run `make lock`"


def test_versions_of_conda_environments_are_locked():
    locked = read_lock("cpu.txt")
    for path in (REPOSITORY / "envs").glob("*.yaml"):
        pins = read_versions(path.read_text().replace(" - ", "\n"))
        assert len(pins) > 20
        assert pins == {name: locked[name] for name in pins}, path


def test_gpu_lock_only_adds_to_the_cpu_lock():
    cpu, gpu = read_lock("cpu.txt"), read_lock("gpu.txt")
    assert {name: gpu.get(name) for name in cpu} == cpu
    assert any(name.startswith("nvidia-") for name in set(gpu) - set(cpu))


def test_tensorflow_is_only_in_the_network_environment():
    assert "tensorflow" in pinned("network")
    assert "tensorflow" not in pinned("images")


@pytest.mark.parametrize(("rule", "environment", "script"), rules(), ids=lambda value: getattr(value, "name", value))
def test_environment_contains_the_imports_of_its_scripts(rule, environment, script):
    assert environment is not None, f"rule {rule} names no conda environment"
    assert distributions_of(script) - pinned(environment) == set()


def test_imports_are_followed_into_modules_of_tessera(tmp_path, monkeypatch):
    (tmp_path / "tessera" / "io").mkdir(parents=True)
    (tmp_path / "grow.py").write_text("import json\nfrom tessera.io.ome_zarr_store import open_array\n")
    (tmp_path / "tessera" / "io" / "ome_zarr_store.py").write_text("from tessera.io.pyramid import mean\n")
    (tmp_path / "tessera" / "io" / "pyramid.py").write_text(
        "def mean():\n    from skimage import measure\n    import PIL.Image\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "SCRIPTS", tmp_path)
    assert distributions_of(tmp_path / "grow.py") == {"scikit-image", "pillow"}


def test_requirements_are_grouped_by_heading():
    text = "# title.\n# arrays\nnumpy\nzarr >=3.1\n# networks\ntensorflow[and-cuda] ==2.21.*\n"
    assert read_headings(text) == {"arrays": ["numpy", "zarr"], "networks": ["tensorflow"]}


def test_versions_are_parsed_with_hashes_markers_and_extras():
    text = "zipp==4.1.2 ; python_full_version < '3.12' \\\n    --hash=sha256:00\nTF[and-cuda]==2.21.0 \\\n"
    assert read_versions(text) == {"zipp": "4.1.2", "tf": "2.21.0"}


def test_dependencies_of_a_requirement_are_included():
    names = close(["tf_keras"])
    assert {"tf-keras", "tensorflow", "numpy"} <= set(names)
    assert "pytest" not in names
