"""Benchmarks: what they ask their scripts for, the scripts answer. They take too long to be run with the tests."""

import ast

import pytest

from helpers.repository import REPOSITORY

BENCH = REPOSITORY / "bench"
ASKED = [
    (path.name, call.args[0].value, {keyword.arg for keyword in call.keywords} - {None, "settings", "python"})
    for path in sorted(BENCH.glob("*.py"))
    for call in ast.walk(ast.parse(path.read_text()))
    if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("ask", "best_of")
    if isinstance(call.args[0], ast.Constant)
]


@pytest.mark.parametrize(("script", "task", "arguments"), ASKED)
def test_what_a_benchmark_asks_for_is_answered(script, task, arguments):
    tree = ast.parse((BENCH / "peers" / f"{task}.py").read_text())
    functions = {node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)}
    (answered,) = (
        call for call in ast.walk(tree) if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "answer"
    )
    taken = functions[answered.args[0].id]
    assert taken.kwarg or arguments <= {each.arg for each in [*taken.args, *taken.kwonlyargs]}


def test_benchmarks_are_found():
    assert {"segment.py", "tracking.py", "predict.py", "stardist.py"} <= {script for script, _, _ in ASKED}
