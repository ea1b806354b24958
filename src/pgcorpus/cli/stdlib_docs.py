"""The demo's corpus: the documentation of the running Python's own standard library.

It is real, it is on every machine, and it comes with metadata. Python files are parsed, never imported; only
compiled modules, which have no source to parse, are imported, and not those that touch the terminal.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple

from pgcorpus.errors import SourceError
from pgcorpus.services.chunking import MAX_CHARS, Passage, chunk_text, replace_unstorable
from pgcorpus.services.sources import Source

Kind = Literal["module", "class", "function", "method"]

# Test suites, applications, vendored tools and tables: no documentation of a library.
_SKIPPED = frozenset(
    {"encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tests", "turtledemo", "venv"}
)
# readline writes to the terminal when imported; the operating system's module is documented as `os`.
_NOT_IMPORTED = frozenset({"nt", "posix", "readline"})
# A compiled module has no source file to measure; this is about the size of an average one.
_COMPILED_SIZE = 20_000
_SIGNATURE_CHARS = 160
_RECEIVER = re.compile(r"^(self|cls|\$\w+)(, /)?(, |(?=\)|$))")


class _Entry(NamedTuple):
    """One docstring. `name` is relative to the module; a module's own is empty."""

    name: str
    kind: Kind
    signature: str
    doc: str


class _Imported(NamedTuple):
    """What a public module shows of a private one: these names, or all when None."""

    module: str
    names: frozenset[str] | None


def stdlib_sources() -> list[Source]:
    """List the standard library's public modules, each a source that is read when asked for.

    A source is named like `python:json`. A passage's metadata has `module`, `kind` (`module`, `class`, `function` or
    `method`) and `name`, the full dotted name. A module without docstrings has no passages.

    Raises:
        SourceError: If this Python came without its standard library's files.
    """
    files = _module_files(Path(sysconfig.get_path("stdlib")))
    if not files:
        raise SourceError("This Python has no standard library files to read: index a folder of your own")
    sources = {
        name: Source(f"python:{name}", path.stat().st_size, partial(_read_module, name, path))
        for name, path in files.items()
    }
    for name in _compiled_modules() - files.keys():
        sources[name] = Source(f"python:{name}", _COMPILED_SIZE, partial(_read_compiled, name))
    return [sources[name] for name in sorted(sources)]


def _module_files(root: Path) -> dict[str, Path]:
    """Map the public modules' names to their files."""
    files = {}
    for folder, subfolders, names in os.walk(root):
        at_top = folder == str(root)
        subfolders[:] = [name for name in subfolders if _is_wanted(name, at_top)]
        package = Path(folder).relative_to(root).parts
        for name in names:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122 - thousands of names
            if suffix == ".py" and (stem == "__init__" or _is_wanted(stem, at_top)):
                parts = package if stem == "__init__" else (*package, stem)
                files[".".join(parts)] = Path(folder, name)
    return files


def _is_wanted(name: str, at_top: bool) -> bool:
    public = name.isidentifier() and not name.startswith("_") and name not in _SKIPPED
    return public and (not at_top or name in sys.stdlib_module_names)


def _compiled_modules() -> set[str]:
    names = {name for name in sys.stdlib_module_names if _is_wanted(name, True)} - _NOT_IMPORTED
    return {name for name in names if importlib.util.find_spec(name) is not None}


# --- Passages


def _read_module(module: str, path: Path) -> list[Passage]:
    tree = _parse(path)
    entries = list(_documented(tree))
    for private in _shown_private_modules(tree, module, path):
        entries += _private_entries(private, module)
    return list(_passages(module, entries))


def _read_compiled(module: str) -> list[Passage]:
    imported = _import(module)
    return list(_passages(module, _inspected(imported, module))) if imported else []


def _passages(module: str, entries: Iterable[_Entry]) -> Iterator[Passage]:
    seen = set()
    for entry in entries:
        if entry.name in seen:
            continue
        seen.add(entry.name)
        name = f"{module}.{entry.name}" if entry.name else module
        where = "" if entry.kind == "module" else f" in module {module}"
        # Every part of a long docstring begins so: each is embedded and found alone.
        lead = f"{name}{entry.signature} — {entry.kind}{where}\n\n"
        for part in chunk_text(replace_unstorable(entry.doc), max_chars=MAX_CHARS - len(lead)):
            yield Passage(lead + part.content, {"module": module, "kind": entry.kind, "name": name})


def _shorten(signature: str) -> str:
    if len(signature) <= _SIGNATURE_CHARS:
        return signature
    return signature[: _SIGNATURE_CHARS - 4] + "...)"


def _is_public(name: str) -> bool:
    return not name.startswith("_")


# --- Python files


def _parse(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old files are no concern of the demo
        return ast.parse(path.read_bytes(), str(path))


def _documented(tree: ast.Module) -> Iterator[_Entry]:
    doc = ast.get_docstring(tree)
    if doc:
        yield _Entry("", "module", "", doc)
    yield from _definitions(tree, "")


def _definitions(scope: ast.AST, prefix: str) -> Iterator[_Entry]:
    """Find documented names in a module or class, also under `if` and `try`, but not inside functions."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.ClassDef):
            if _is_public(node.name):
                yield from _class(node, prefix)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _function(node, prefix)
        elif isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            yield from _definitions(node, prefix)


def _class(node: ast.ClassDef, prefix: str) -> Iterator[_Entry]:
    doc = ast.get_docstring(node)
    if doc:
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        yield _Entry(prefix + node.name, "class", _shorten(f"({bases})") if bases else "", doc)
    yield from _definitions(node, f"{prefix}{node.name}.")


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, prefix: str) -> Iterator[_Entry]:
    # What authors wrote under __init__ or __enter__ is documentation like any other.
    special = node.name.startswith("__") and node.name.endswith("__")
    doc = ast.get_docstring(node) if special or _is_public(node.name) else None
    if doc:
        arguments = ast.unparse(node.args)
        if prefix:
            arguments = _RECEIVER.sub("", arguments)
        kind: Kind = "method" if prefix else "function"
        yield _Entry(prefix + node.name, kind, _shorten(f"({arguments})"), doc)


# --- Private modules whose names a public one shows: pathlib._local, concurrent.futures._base, _datetime


def _shown_private_modules(tree: ast.Module, module: str, path: Path) -> Iterator[_Imported]:
    """Find `from _private import *`, and names so imported that `__all__` lists."""
    listed = _listed_names(tree)
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in _imports(tree):
        origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        if _is_public(origin.rpartition(".")[2]) and origin not in {"posix", "nt"}:
            continue
        names = frozenset(alias.name for alias in node.names if alias.asname is None)
        if "*" in names:
            yield _Imported(origin, None)
        elif names & listed:
            yield _Imported(origin, names & listed)


def _imports(scope: ast.AST) -> Iterator[ast.ImportFrom]:
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            yield from _imports(node)


def _listed_names(tree: ast.Module) -> frozenset[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return frozenset(
                item.value
                for item in ast.walk(node.value)
                if isinstance(item, ast.Constant) and isinstance(item.value, str)
            )
    return frozenset()


def _private_entries(private: _Imported, module: str) -> Iterator[_Entry]:
    file = _find_file(private.module)
    if file:
        entries = _definitions(_parse(file), "")
    else:
        compiled = _import(private.module)
        entries = _inspected(compiled, module) if compiled else iter(())
    for entry in entries:
        top = entry.name.partition(".")[0]
        if top and (private.names is None or top in private.names):
            yield entry


def _find_file(module: str) -> Path | None:
    path = Path(sysconfig.get_path("stdlib"), *module.split(".")).with_suffix(".py")
    return path if path.is_file() else None


# --- Compiled modules


def _import(module: str) -> ModuleType | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are deprecated
        try:
            return importlib.import_module(module)
        except ImportError:
            return None  # not built for this platform


def _inspected(imported: ModuleType, module: str) -> Iterator[_Entry]:
    doc = inspect.getdoc(imported)
    if doc:
        yield _Entry("", "module", "", doc)
    for name, value in sorted(vars(imported).items()):
        if _is_public(name) and _is_home(value, imported, module):
            if inspect.isclass(value):
                yield from _inspected_class(name, value)
            elif inspect.isroutine(value):
                yield from _inspected_routine(name, value, "function")


def _is_home(value: object, imported: ModuleType, module: str) -> bool:
    """Tell what a module defines from what it borrowed, such as `select.error`, which is OSError."""
    home = getattr(value, "__module__", None)
    return home == imported.__name__ or f"{module}.".startswith(f"{home}.")


def _inspected_class(name: str, value: type) -> Iterator[_Entry]:
    # An inherited docstring belongs to the base.
    doc = vars(value).get("__doc__")
    if isinstance(doc, str) and doc.strip():
        yield _Entry(name, "class", _signature(value), inspect.cleandoc(doc))
    for method, member in sorted(vars(value).items()):
        # The docstrings of compiled special methods all say the same: "Return self+value."
        if _is_public(method) and callable(getattr(value, method, None)):
            yield from _inspected_routine(f"{name}.{method}", member, "method")


def _inspected_routine(name: str, value: object, kind: Kind) -> Iterator[_Entry]:
    doc = inspect.getdoc(value)
    if doc:
        yield _Entry(name, kind, _signature(value), doc)


def _signature(value: object) -> str:
    # inspect.signature() would evaluate the defaults, and fail where a module knows them only at run time.
    signature = getattr(value, "__text_signature__", None)
    return _shorten("(" + _RECEIVER.sub("", signature[1:])) if isinstance(signature, str) else ""
