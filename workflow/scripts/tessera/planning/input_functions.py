"""Functions that Snakemake calls for inputs, params and resources of a job."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def with_signature(function: Function) -> Function:
    """Keep the signature of a function with it. Snakemake inspects it twice for each call, which takes long."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function
