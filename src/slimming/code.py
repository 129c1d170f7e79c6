"""Which files of the package decide a stage's numbers, with a digest of what each does: what stands until one changes.

The workflow reruns jobs by it, and an interrupted training goes on only with the code that began it. A digest is one
of meaning: comments, docstrings, layout, line ends, the order of imports and the place of a module in the package
change nothing; a constant, a default or an expression does. Not for versions of other packages: records keep those.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from slimming import foreign, methods, networks
from slimming.study import Run

PACKAGE = Path(__file__).parent
NAME = PACKAGE.name

# A run's settings reach its job on the command line, and records carry them on: these files decide no number.
CARRIERS = {
    *(
        f"{name}.py"
        for name in ("__init__", "cli", "code", "costs", "errors", "foreign", "origin", "records", "settings", "study")
    ),
    *(f"stages/{name}.py" for name in ("devices", "locks", "table")),
}


@functools.cache
def closure(*modules: str, templates: tuple[str, ...] = ()) -> list[str]:
    """The digests of the package files that `modules` ("stages.train") import, directly or not, in order.

    `templates` are names of files in reporting/templates/, for modules that fill them in. A module may also be the
    absolute path of a file of somebody else's, which counts by itself.
    """
    others = {Path(name) for name in modules if os.path.isabs(name)}
    todo, found = [PACKAGE / name.replace(".", "/") for name in modules if not os.path.isabs(name)], others
    while todo:
        path = todo.pop()
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file in found or not file.is_file() or file.relative_to(PACKAGE).as_posix() in CARRIERS:
            continue
        found.add(file)
        todo += _imports(file)
    found |= {PACKAGE / "reporting/templates" / name for name in templates}
    digests = {_digest_file(file) for file in found}
    return sorted(digests - {EMPTY})


def kind(run: Run) -> list[str]:
    """The modules of a run's network and method, which a stage imports by name."""
    name = run.architecture["name"]
    network = ["networks.adoption", str(foreign.locate(name))] if networks.is_foreign(name) else [_family(name)]
    modules = methods.get(**run.method).modules()
    return [*network, *(module.removeprefix(f"{NAME}.") for module in modules)]


def of_network(kind: Iterable[str]) -> list[str]:
    """What in a run's kind is its network's."""
    return [name for name in kind if name.startswith("networks.") or os.path.isabs(name)]


def _family(name: str) -> str:
    family, _ = networks.parse(name)
    return f"networks.{family}"


def paths(package: Path = PACKAGE) -> dict[str, str]:
    """{digest: path below the package's parent} of every file in `package`: what the digests of `closure` stand for."""
    files = (file for file in sorted(package.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)
    return {_digest_file(file): file.relative_to(package.parent).as_posix() for file in files}


def digest(content: bytes, python: bool) -> str:
    """Sixteen hexadecimal digits for what a file of the package does: of its syntax (`python`) or else of its text."""
    text = content.decode("utf-8", errors="surrogateescape").replace("\r\n", "\n")
    meaning = repr(_meaning(ast.parse(text))) if python else text
    return hashlib.sha256(meaning.encode("utf-8", errors="surrogateescape")).hexdigest()[:16]


@functools.cache
def _digest_file(file: Path) -> str:
    return digest(file.read_bytes(), file.suffix == ".py")


@functools.cache
def _imports(file: Path) -> list[Path]:
    """The modules and names of the package that `file` imports, anywhere, as paths without suffix."""
    imported = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and _ours(node):
            parent = Path(PACKAGE.parent, *node.module.split("."))
            imported += [parent, *(parent / alias.name for alias in node.names)]
    return imported


def _ours(node: ast.ImportFrom) -> bool:
    return (node.module or "").partition(".")[0] == NAME


def _meaning(node: object) -> object:
    """A syntax tree as nested tuples, the same in every version of Python that reads the same program."""
    if isinstance(node, list):
        return tuple(map(_meaning, node))
    if not isinstance(node, ast.AST):
        return node
    fields = {name: _body(value) if name == "body" else value for name, value in ast.iter_fields(node)}
    # Later versions of Python add fields, which older programs leave empty.
    said = {name: value for name, value in fields.items() if value is not None and value != []}
    return (type(node).__name__, *((name, _meaning(value)) for name, value in said.items()))


def _body(statements: object) -> object:
    """The statements of a block without docstring, and its imports, one a name, in an order of their own."""
    if not isinstance(statements, list):  # the body of a lambda or of a conditional expression
        return statements
    first = statements[0] if statements else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        statements = statements[1:]
    imports = [node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)]
    named = sorted({text for node in imports for text in _named(node)})
    return [*map(ast.Constant, named), *(node for node in statements if node not in imports)]


def _named(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """A line for each name that an import brings, without the place of a module of the package."""
    origin = "" if isinstance(node, ast.Import) else NAME if _ours(node) else f"{'.' * node.level}{node.module or ''}"
    for alias in node.names:
        yield f"from {origin} import {alias.name} as {alias.asname}"


EMPTY = digest(b"", python=True)  # of a module that only says what its folder is for
