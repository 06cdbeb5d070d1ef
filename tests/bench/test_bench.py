"""Benchmarks call their peer scripts with parameters that these have. Running them takes too long for the tests."""

import ast

import pytest

from helpers.repository import REPOSITORY

BENCH = REPOSITORY / "bench"
CALLS = [
    (path.name, call.args[0].value, {keyword.arg for keyword in call.keywords} - {None, "settings", "python"})
    for path in sorted(BENCH.glob("*.py"))
    for call in ast.walk(ast.parse(path.read_text()))
    if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("ask", "best_of")
    if isinstance(call.args[0], ast.Constant)
]


@pytest.mark.parametrize(("script", "task", "arguments"), CALLS)
def test_peer_script_has_the_parameters_of_the_call(script, task, arguments):
    tree = ast.parse((BENCH / "peers" / f"{task}.py").read_text())
    functions = {node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)}
    (answer,) = (
        call for call in ast.walk(tree) if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "answer"
    )
    parameters = functions[answer.args[0].id]
    assert parameters.kwarg or arguments <= {each.arg for each in [*parameters.args, *parameters.kwonlyargs]}


def test_calls_of_all_benchmarks_are_collected():
    assert {"segment.py", "tracking.py", "predict.py", "stardist.py"} <= {script for script, _, _ in CALLS}
