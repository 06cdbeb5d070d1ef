"""Reads containers, strings, numbers and arrays from a pickle without unpickling it: nothing is imported or called.

Pickles are programs for a stack machine (the module pickletools describes its operations). This interpreter knows only
those that make plain values, and the few names by which NumPy stores arrays, which it replaces by descriptions.
"""

import mmap
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

MOST_OPERATIONS = 5_000_000
_NAMES = {
    "numpy.multiarray _reconstruct", "numpy.multiarray scalar", "numpy.numeric _frombuffer", "numpy ndarray",
    "numpy dtype", "_codecs encode",
}  # fmt: skip
_PLAIN = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


@dataclass(frozen=True)
class Name:
    """A name of Python that the pickle mentions, such as "numpy dtype"."""

    text: str


@dataclass
class StoredType:
    """A type of NumPy as the pickle describes it: u2 and <, for instance."""

    code: str
    order: str = "="


@dataclass
class StoredArray:
    """An array as the pickle describes it: nothing is checked before `read_array`."""

    state: Any = None


def read_array(value: Any) -> NDArray[Any]:
    """Return the array of numbers that a value of `read_plain_pickle` describes.

    Raises:
        ValueError: it is no array of numbers, or its bytes do not fit its shape.
    """
    state = value.state if isinstance(value, StoredArray) else None
    if not (isinstance(state, tuple) and len(state) == 5):
        raise ValueError("is no array")
    _, shape, kind, by_columns, data = state
    if not isinstance(kind, StoredType) or not isinstance(data, bytes | bytearray):
        raise ValueError("is no array of numbers")
    dtype = np.dtype(kind.code).newbyteorder("<" if kind.order == "<" else ">" if kind.order == ">" else "=")
    if dtype.kind not in "biuf" or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError("is no array of numbers")
    count = 1
    for size in shape:
        count *= size
    if count * dtype.itemsize != len(data):
        raise ValueError(f"has {len(data)} bytes, but its shape is {shape}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")


def read_plain_pickle(stream: IO[bytes] | mmap.mmap) -> Any:
    """Return the value of a pickle. Arrays are `StoredArray`, and numbers of NumPy are descriptions as well.

    Raises:
        ValueError: the pickle holds anything else, or is damaged.
    """
    machine = _Machine()
    for number, (operation, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], stream))):
        if number > MOST_OPERATIONS:
            raise ValueError(f"has more than {MOST_OPERATIONS:,} operations")
        if operation.name == "STOP":
            return machine.pop()
        try:
            machine.run(operation.name, argument)
        except (IndexError, KeyError, TypeError, AttributeError):
            raise ValueError(f"its operation {operation.name} is damaged") from None
    raise ValueError("ends early")


class _Machine:
    """The stack and the memo of the interpreter."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("has a mark instead of a value")
        return value

    def run(self, name: str, argument: Any) -> None:
        """Run one operation."""
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _PLAIN:
            self._stack.append(_PLAIN[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name == "MARK":
            self._stack.append(_MARK)
        elif name in _TUPLES:
            self._stack.append(tuple(reversed([self.pop() for _ in range(_TUPLES[name])])))
        elif name in ("TUPLE", "LIST"):
            self._stack.append((tuple if name == "TUPLE" else list)(self._pop_to_mark()))
        elif name == "DICT":
            values = self._pop_to_mark()
            self._stack.append({})
            self._set(values)
        elif name in ("APPEND", "APPENDS"):
            values = [self.pop()] if name == "APPEND" else self._pop_to_mark()
            self._last(list).extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            values = [self.pop(), self.pop()][::-1] if name == "SETITEM" else self._pop_to_mark()
            self._set(values)
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name == "GLOBAL":
            self._stack.append(_known(argument))
        elif name == "STACK_GLOBAL":
            attribute, module = self.pop(), self.pop()
            self._stack.append(_known(f"{module} {attribute}"))
        elif name == "REDUCE":
            arguments, function = self.pop(), self.pop()
            self._stack.append(_describe(function, arguments))
        elif name == "BUILD":
            state = self.pop()
            _complete(self._stack[-1], state)
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"has the operation {name}, which makes no plain value")

    def _pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _last(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise ValueError("fills a value that is no container")
        return self._stack[-1]

    def _set(self, values: list[Any]) -> None:
        target = self._last(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | int | float | bytes | None):
                raise ValueError("has a key that is neither text nor number")
            target[key] = value


def _known(text: str) -> Name:
    """Return one of the names that stand for arrays and numbers of NumPy."""
    module, _, attribute = text.partition(" ")
    parts = [part for part in module.split(".") if not (module.startswith("numpy.") and part in ("core", "_core"))]
    name = f"{'.'.join(parts)} {attribute}"
    if name not in _NAMES:
        raise ValueError(f"mentions {module[:50]}.{attribute[:50]}, which is neither container, text, number nor array")
    return Name(name)


def _describe(function: Any, arguments: Any) -> Any:
    """Return a description of what NumPy would make."""
    name = function.text if isinstance(function, Name) else ""
    if name == "numpy dtype":
        return StoredType(str(arguments[0]))
    if name == "numpy.multiarray _reconstruct":
        return StoredArray()
    if name == "numpy.multiarray scalar":
        kind, data = arguments
        return StoredArray((1, (), kind, False, data))
    if name == "numpy.numeric _frombuffer":
        data, kind, shape, order = arguments
        return StoredArray((1, shape, kind, order == "F", data))
    if name == "_codecs encode" and arguments[1] == "latin1":  # bytes in old pickles
        return arguments[0].encode("latin1")
    raise ValueError("calls a function")


def _complete(target: Any, state: Any) -> None:
    if isinstance(target, StoredArray):
        target.state = state
    elif isinstance(target, StoredType):
        target.order = str(state[1])
    else:
        raise ValueError("sets the state of an object")
