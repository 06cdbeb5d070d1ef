"""Code hashes: a rerun happens when code that can change a result changes, and only then.

The hash of a script covers the script and every module of Tessera that it imports, directly or indirectly. It is taken
from the parsed code. The following changes leave it as it is:

- comments, layout, docstrings and the order of imports;
- type annotations, and imports that only annotations use;
- names of local variables;
- the text of exceptions, log messages and warnings, and progress reports;
- the modules in `NOT_HASHED`, which decide how a job runs and not what it computes.

Everything else counts, including texts that a script writes to its results, such as the sentences of the report.
"""

import ast
import builtins
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

from tessera.planning.digests import digest
from tessera.planning.disk_memory import DiskMemory

SCRIPTS = Path(__file__).resolve().parents[2]
PACKAGE = "tessera"
REMEMBERED_CODE = DiskMemory()  # {digest of a file's content: [its hash, what it imports]}: each file is parsed once
NOT_HASHED = (
    "tessera.settings",  # the values of settings count, not how they are checked
    "tessera.common.file_lock",
    "tessera.common.job",
    "tessera.common.progress",
    "tessera.common.types",
)
LOGGERS = {"logger", "logging"}
MESSAGE_FUNCTIONS = {"warn_user", "Progress"}
# Fields of the syntax tree that say nothing about results, or that only some versions of Python have.
_IGNORED_FIELDS = {
    "annotation", "ctx", "kind", "returns", "type_comment", "type_ignores", "type_params",
}  # fmt: skip


@cache
def code_hashes(script: str) -> Mapping[str, str]:
    """Hashes of workflow/scripts/`script` and of each module of Tessera that it imports, by path below the scripts."""
    files = _imported_files(SCRIPTS / script)
    return MappingProxyType({path.relative_to(SCRIPTS).as_posix(): hash_file(path)[0] for path in sorted(files)})


@cache
def script_hash(script: str) -> str:
    """One hash of workflow/scripts/`script` with everything it imports from Tessera."""
    return digest(sorted(code_hashes(script).items()))


@cache
def hash_file(path: Path) -> tuple[str, tuple[str, ...]]:
    """The hash of one file, and the dotted names of what it imports from Tessera."""
    content = path.read_bytes()
    key = hashlib.blake2b(_own_source() + content, digest_size=16).hexdigest()
    if key not in REMEMBERED_CODE:
        reader = _Reader(ast.parse(content))
        REMEMBERED_CODE[key] = [digest(reader.tokens), sorted(reader.modules)]
    code_hash, modules = REMEMBERED_CODE[key]
    return code_hash, tuple(modules)


@cache
def _own_source() -> bytes:
    """The source of this module: when it changes, so may the hashes that it computes."""
    return Path(__file__).read_bytes()


def _imported_files(path: Path) -> set[Path]:
    """`path` and the file of every module of Tessera that it imports, directly or indirectly."""
    files: set[Path] = set()
    waiting = [path]
    while waiting:
        path = waiting.pop()
        if path not in files:
            files.add(path)
            waiting += [file for name in hash_file(path)[1] for file in _files_of(name)]
    return files


def _files_of(module: str) -> list[Path]:
    """The file of a module that counts; none for a name inside a module, for a package, and for `NOT_HASHED`."""
    if _is_not_hashed(module):
        return []
    path = SCRIPTS / f"{module.replace('.', '/')}.py"
    return [path] if path.is_file() else []


def _is_not_hashed(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in NOT_HASHED)


class _Reader:
    """Turns a syntax tree into tokens that stand for what can change a result.

    Unlike the output of `ast.dump`, the tokens are the same for every version of Python.

    Attributes:
        tokens: the tokens, in the order of the code, followed by the imports, sorted.
        modules: dotted names of what is imported from Tessera; a name may be that of a function in a module.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.tokens: list[str] = []
        self.modules: set[str] = set()
        self._imports: list[tuple[str, str, str | None]] = []  # (module, name, name in this file)
        self._used: set[str] = set()  # names that code uses which counts
        self._globals = _global_names(tree)
        self._progress = _progress_names(tree)
        self._renamed: dict[str, str] | None = None  # of the function that is being read: {local name: its token}
        self._read(tree)
        self._add_imports({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})

    def _add_imports(self, mentioned: set[str]) -> None:
        """Leave out imports that only annotations and messages use.

        A module of Tessera that is imported and never mentioned counts: other modules may import its names from here.
        """
        imports = set()
        for module, name, alias in self._imports:
            bound = alias or (name or module).split(".")[0]
            is_ours = module.split(".")[0] == PACKAGE
            if bound not in self._used and (bound in mentioned or not is_ours):
                continue
            if _is_not_hashed(module):
                continue
            imports.add((module, name, alias or ""))
            if is_ours:
                self.modules |= {module, f"{module}.{name}"} if name else {module}
        self.tokens += [token for entry in sorted(imports) for token in ("import", *entry)]

    def _read(self, node: object) -> None:
        match node:
            case list():
                self.tokens.append("[")
                for item in node:
                    self._read(item)
                self.tokens.append("]")
            case ast.Import():
                self._imports += [(alias.name, "", alias.asname) for alias in node.names]
            case ast.ImportFrom():
                module = "." * node.level + (node.module or "")
                self._imports += [(module, alias.name, alias.asname) for alias in node.names]
            case ast.stmt() if self._is_ignored(node):
                pass
            case ast.If() if _is_type_checking(node.test):
                self._read(node.orelse)
            case ast.AnnAssign():
                self._read_annotated(node)
            case ast.Raise(exc=ast.Call() as call):
                self.tokens += ["Raise"]
                self._read(call.func)
            case ast.Assert():
                self.tokens += ["Assert"]
                self._read(node.test)
            case ast.Call() if _last_name(node.func) in MESSAGE_FUNCTIONS:
                self.tokens += ["Call"]
                self._read(node.func)
            case ast.Call(func=ast.Name(id="cast"), args=[_, value]):
                self._read(value)
            case ast.JoinedStr():
                self._read_f_string(node)
            case ast.Name():
                self._used.add(node.id)
                self.tokens += ["Name", self._rename(node.id)]
            case ast.ExceptHandler():
                self.tokens += ["ExceptHandler", self._rename(node.name) if node.name else ""]
                self._read(node.type)
                self._read(node.body)
            case ast.Global() | ast.Nonlocal():
                self.tokens += [type(node).__name__, *map(self._rename, node.names)]
            case ast.FunctionDef() | ast.AsyncFunctionDef() if self._renamed is None:
                self._renamed = dict.fromkeys(_local_names(node) - self._globals, "")
                self._read_fields(node)
                self._renamed = None
            case ast.AST():
                self._read_fields(node)
            case _:
                self.tokens.append(repr(node))

    def _read_fields(self, node: ast.AST) -> None:
        self.tokens.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or value == [] or name in _IGNORED_FIELDS:
                continue
            if name == "body" and _has_docstring(node):
                value = value[1:]
            self.tokens.append(name)
            self._read(value)
        self.tokens.append(".")

    def _read_annotated(self, node: ast.AnnAssign) -> None:
        """`x: int = 1` is `x = 1`; without a value it declares, which matters in a dataclass: `x` is a field."""
        if _last_name(node.annotation) == "TypeAlias":
            return
        self.tokens += ["Assign", "targets", "["] if node.value else ["Declare", "["]
        self._read(node.target)
        self.tokens.append("]")
        if node.value:
            self.tokens.append("value")
            self._read(node.value)
        self.tokens.append(".")

    def _read_f_string(self, node: ast.JoinedStr) -> None:
        """Versions of Python cut the text between the values of an f-string in different places."""
        self.tokens.append("JoinedStr")
        for is_text, run in itertools.groupby(node.values, lambda part: isinstance(part, ast.Constant)):
            parts = list(run)
            if not is_text:
                self._read(parts)
            elif text := "".join(str(part.value) for part in parts if isinstance(part, ast.Constant)):
                self.tokens.append(repr(text))
        self.tokens.append(".")

    def _rename(self, name: str) -> str:
        """The name itself, or for a local variable its place among those of its function."""
        if self._renamed is None or name not in self._renamed:
            return name
        if not self._renamed[name]:
            self._renamed[name] = str(sum(map(bool, self._renamed.values())) + 1)
        return self._renamed[name]

    def _is_ignored(self, node: ast.stmt) -> bool:
        """Whether a statement only reports: it prints, logs, makes a logger, or advances a progress report."""
        match node:
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
                return True
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=receiver), attr=method))):
                advances = receiver in self._progress and method in ("advance", "close")
                return receiver in LOGGERS or (receiver, method) == ("warnings", "warn") or advances
            case ast.Assign(value=ast.Call(func=function)):
                return _last_name(function) in ("getLogger", "Progress")
            case ast.AnnAssign(value=None):
                return self._renamed is not None and isinstance(node.target, ast.Name)
        return type(node).__name__ == "TypeAlias"


def _global_names(tree: ast.Module) -> set[str]:
    """Names of the whole module and of Python: a local variable of such a name keeps it."""
    names = set(dir(builtins))
    for node in _walk_outside_functions(tree.body):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name):
                names.add(name)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name.split(".")[0] for alias in aliases}
            case ast.Global(names=declared):
                names |= set(declared)
    return names


def _walk_outside_functions(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    for node in body:
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _walk_outside_functions(list(ast.iter_child_nodes(node)))


def _local_names(function: ast.AST) -> set[str]:
    """Variables that are assigned in a function or in those inside it; parameters, which callers may name, are none."""
    names: set[str] = set()
    kept: set[str] = set()
    for node in ast.walk(function):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.ExceptHandler(name=str(name)):
                names.add(name)
            case ast.arg(arg=name):
                kept.add(name)
            case ast.ClassDef():
                kept |= {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                kept.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                kept.add(name)
    return names - kept


def _progress_names(tree: ast.Module) -> set[str]:
    """Names of variables that hold a progress report."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=function)):
                names |= {name} if _last_name(function) == "Progress" else set()
            case ast.withitem(context_expr=ast.Call(func=function), optional_vars=ast.Name(id=name)):
                names |= {name} if _last_name(function) == "Progress" else set()
    return names


def _last_name(node: ast.AST) -> str:
    """`c` of `a.b.c` and of `c`; nothing for other expressions."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _is_type_checking(node: ast.AST) -> bool:
    return _last_name(node) == "TYPE_CHECKING"


def _has_docstring(node: ast.AST) -> bool:
    types = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return isinstance(node, types) and ast.get_docstring(node) is not None
