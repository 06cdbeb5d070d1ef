"""The hash of code changes with what can change a result, and with nothing else."""

import re
import shutil

import pytest

from tessera.planning import code_hash
from tessera.planning.code_hash import code_hashes, hash_file, script_hash

SCRIPT = '''"""Docstring."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.common.progress import Progress
from tessera.io.ome_zarr_store import open_array

if TYPE_CHECKING:
    from tessera.io.ome_zarr_reader import Reader

logger = logging.getLogger(__name__)
THRESHOLD = 0.5


@dataclass
class Cell:
    area: float
    label: int = 0


def segment(image, *, halo_px=32):
    """Docstring."""
    # comment
    progress = Progress(10, "tile", "segment")
    pixels = open_array(image)
    if halo_px < 0:
        raise ValueError(f"halo_px is {halo_px}: must not be negative")
    try:
        total = sum(pixel for pixel in pixels)
    except TypeError as error:
        total = str(error)
    assert total, "no pixel"
    print(f"{image}: {total}")
    logger.info("read %s", image)
    warnings.warn("odd", stacklevel=2)
    warn_user(image, "is odd")
    progress.advance(1)
    return total > THRESHOLD + 1
'''


def forget():
    for function in (code_hashes, script_hash, hash_file):
        function.cache_clear()


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """A folder with a script that imports a store module, which imports the errors module."""
    package = tmp_path / "scripts" / "tessera"
    for module, text in {
        "io/ome_zarr_store": "from tessera.common.errors import InputError\n\n\ndef open_array(path):\n    return 1\n",
        "io/ome_zarr_reader": "class Reader:\n    pass\n",
        "common/errors": "class InputError(Exception):\n    pass\n",
        "common/progress": "class Progress:\n    pass\n",
        "inference/tiling": "A = 1\n",
    }.items():
        path = package / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "scripts" / "segment.py").write_text(SCRIPT)
    monkeypatch.setattr(code_hash, "SCRIPTS", tmp_path / "scripts")
    forget()
    yield tmp_path / "scripts"
    forget()


def has_changed(path, old, new):
    """Return whether the hash of segment.py changes with `path`."""
    before = script_hash("segment.py")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    forget()
    return script_hash("segment.py") != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# comment", "# another comment"),
        ('"""Docstring."""', '"""Other."""'),
        ("THRESHOLD + 1", "(THRESHOLD  +1 )"),
        ("import logging\nimport warnings\n", "import warnings\nimport logging\n"),
    ],
    ids=["comment", "docstring", "layout", "order of imports"],
)
def test_comments_docstrings_and_layout_do_not_count(scripts, old, new):
    assert not has_changed(scripts / "segment.py", old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def segment(image, *, halo_px=32):", "def segment(image: Path, *, halo_px: int = 32) -> list[float]:"),
        ("pixels = open_array(image)", "pixels: Reader = open_array(image)"),
        ("area: float", "area: int | None"),
        ("label: int = 0", "label: Path = 0"),
        ("label: int = 0", "label = 0"),
        (
            "from typing import TYPE_CHECKING\n",
            "from typing import TYPE_CHECKING, Any, TypeAlias\n\nA: TypeAlias = 'Any'\n",
        ),
        ("from tessera.io.ome_zarr_reader import Reader", "from tessera.inference.tiling import A"),
        ("open_array(image)", "cast(Reader, open_array(image))"),
    ],
)
def test_type_annotations_and_their_imports_do_not_count(scripts, old, new):
    assert not has_changed(scripts / "segment.py", old, new)


def test_a_module_that_only_annotations_use_does_not_count(scripts):
    path = scripts / "segment.py"
    path.write_text(
        path.read_text().replace("import open_array\n", "import open_array\nfrom tessera.inference.tiling import A\n")
    )
    path.write_text(path.read_text().replace("def segment(image,", "def segment(image: A,"))
    forget()
    assert not has_changed(scripts / "tessera" / "inference" / "tiling.py", "1", "2")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("must not be negative", "is too small"),
        ('f"halo_px is {halo_px}: must not be negative"', '"bad", halo_px'),
        ("no pixel", "nothing to sum"),
        ('print(f"{image}: {total}")', 'print("sum", total, sep=": ")'),
        ('    print(f"{image}: {total}")\n', ""),
        ('"read %s"', '"opened %s"'),
        ('warnings.warn("odd"', 'warnings.warn("strange"'),
        ('warn_user(image, "is odd")', 'warn_user(image, "is strange: " + str(image))'),
        ('Progress(10, "tile", "segment")', 'Progress(11, "block", "label")'),
        ("progress.advance(1)", "progress.advance(2)"),
        ("    progress.advance(1)\n", ""),
    ],
)
def test_the_text_of_errors_and_messages_and_progress_do_not_count(scripts, old, new):
    assert not has_changed(scripts / "segment.py", old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [("total", "intensity"), ("pixels", "values"), ("pixel for pixel", "value for value"), ("error", "problem")],
)
def test_names_of_local_variables_do_not_count(scripts, old, new):
    assert not has_changed(scripts / "segment.py", old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("THRESHOLD + 1", "THRESHOLD + 2"),
        ("THRESHOLD = 0.5", "THRESHOLD = 0.6"),
        ("halo_px=32", "halo_px=64"),
        ("raise ValueError", "raise TypeError"),
        ("if halo_px < 0", "if halo_px < 1"),
        ("area: float", "size: float"),
        ("area: float", "area: float = 1"),
        ("@dataclass\n", "@dataclass(order=True)\n"),
        ("    warn_user(image, ", "    if total:\n        warn_user(image, "),
        ("for pixel in pixels", "for pixel in total"),
        ("return total > THRESHOLD", "return pixels > THRESHOLD"),
        ("halo_px", "margin_px"),
    ],
)
def test_what_can_change_a_result_counts(scripts, old, new):
    assert has_changed(scripts / "segment.py", old, new)


def test_a_local_variable_that_hides_a_name_of_the_module_keeps_its_name(scripts):
    assert has_changed(scripts / "segment.py", "total", "THRESHOLD")
    assert has_changed(scripts / "segment.py", "pixels", "sum")


def test_modules_count_however_deep_they_are_imported(scripts):
    assert has_changed(scripts / "tessera" / "common" / "errors.py", "pass", "status = 1")
    assert list(code_hashes("segment.py")) == [
        "segment.py", "tessera/common/errors.py", "tessera/io/ome_zarr_store.py"
    ]  # fmt: skip


@pytest.mark.parametrize("module", ["inference/tiling", "io/ome_zarr_reader", "common/progress"])
def test_modules_that_are_not_used_do_not_count(scripts, module):
    path = scripts / "tessera" / f"{module}.py"
    path.write_text(path.read_text() + "B = 2\n")
    assert not has_changed(path, "B = 2", "B = 3")


@pytest.mark.parametrize(
    "statement",
    [
        "from tessera.inference import tiling",
        "import tessera.inference.tiling",
        "def f():\n    from tessera.inference.tiling import A",
    ],
)
def test_every_way_to_import_is_seen(scripts, statement):
    (scripts / "segment.py").write_text(SCRIPT.replace("import logging", f"{statement}\nimport logging"))
    forget()
    assert has_changed(scripts / "tessera" / "inference" / "tiling.py", "1", "2")


def test_the_hash_is_the_same_in_every_version_of_python(scripts):
    text = 'def f(x, w):\n    y = x\n    return f"{y:>{w}}/{w}  {\'*\' if x else \'\'}" f"a{x!r}" "b"\n'
    (scripts / "segment.py").write_text(text)
    forget()
    assert hash_file(scripts / "segment.py")[0] == "d60a6d3bbc2e0f6e"


def test_tracking_does_not_depend_on_how_the_report_shows_tracks():
    files = {path.rsplit("/", 1)[-1] for path in code_hashes("track.py")}
    assert {"track_columns.py", "tracker.py"} <= files
    assert not files & {"tracking_report.py", "report_tables.py", "html_report.py", "tracking_metrics.py"}


def test_every_real_script_has_a_hash_of_its_own():
    names = [path.name for path in code_hash.SCRIPTS.glob("*.py")]
    assert len({script_hash(name) for name in names}) == len(names) > 0


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r'(raise \w+\(\s*f?")', r"\1Reworded: "),
        (r'(logger\.\w+\(\s*f?")', r"\1Reworded: "),
        (r'(warn_user\(\w+, f?")', r"\1Reworded: "),
        (r"\) -> None:$", r") -> object:"),
        (r"\bresult = ", r"result: object = "),
    ],
    ids=["errors", "log messages", "warnings", "return types", "types of variables"],
)
def test_rewording_and_annotating_all_real_code_changes_no_hash(tmp_path, monkeypatch, pattern, replacement):
    names = [path.name for path in code_hash.SCRIPTS.glob("*.py")]
    forget()
    before = {name: script_hash(name) for name in names}
    shutil.copytree(code_hash.SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    count = 0
    for path in (tmp_path / "scripts").rglob("*.py"):
        text, changes = re.subn(pattern, replacement, path.read_text(), flags=re.MULTILINE)
        path.write_text(text)
        count += changes
    assert count > 0 or "result" in pattern
    monkeypatch.setattr(code_hash, "SCRIPTS", tmp_path / "scripts")
    forget()
    assert {name: script_hash(name) for name in names} == before
    forget()
