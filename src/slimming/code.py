"""Which files of the package decide a stage's numbers, with a digest of each: what stands until one of them changes.

The workflow reruns jobs by it, and an interrupted training goes on only with the code that began it. Not for versions
of other packages: records keep those.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

from slimming import methods, networks
from slimming.study import Run

PACKAGE = Path(__file__).parent

# A run's settings reach its job on the command line, and records carry them on: these files decide no number.
CARRIERS = {"cli.py", "code.py", "costs.py", "devices.py", "errors.py", "locks.py", "records.py", "study.py"}


@functools.cache
def closure(*modules: str, templates: tuple[str, ...] = ()) -> list[str]:
    """The "path digest" of each package file that `modules` ("stages.train") import, directly or not, by path.

    `templates` are names of files in reporting/templates/, for modules that fill them in.
    """
    filled = {PACKAGE / "reporting/templates" / name for name in templates}
    todo, found = [PACKAGE / name.replace(".", "/") for name in modules], set()
    while todo:
        path = todo.pop()
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file in found or not file.is_file() or file.name in CARRIERS:
            continue
        found.add(file)
        todo += _imports(file)
    return [_digest(file) for file in sorted(found - {PACKAGE / "__init__.py"} | filled)]


def kind(run: Run) -> tuple[str, str]:
    """The modules of a run's network and method, which a stage imports by name."""
    family, _ = networks.parse(run.architecture["name"])
    return f"networks.{family}", type(methods.get(**run.method)).__module__.removeprefix("slimming.")


@functools.cache
def _imports(file: Path) -> list[Path]:
    """The modules and names of the package that `file` imports, anywhere, as paths without suffix."""
    imported = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "slimming":
            parent = Path(PACKAGE.parent, *node.module.split("."))
            imported += [parent, *(parent / alias.name for alias in node.names)]
    return imported


@functools.cache
def _digest(file: Path) -> str:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return f"src/slimming/{file.relative_to(PACKAGE).as_posix()} {digest}"
