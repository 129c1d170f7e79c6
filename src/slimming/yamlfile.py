"""YAML files, read as their authors meant them or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from slimming.errors import InputError

# What plain text may be read as, beside text: YAML 1.1 also has octal, hexadecimal and sexagesimal numbers, dates, and
# Booleans called yes and off.
WRITTEN = re.compile(
    r"true|false|True|False|[+-]?(0|[1-9]\d*)|[+-]?(\d+\.\d*|\.\d+)(e[+-]?\d+)?|[+-]?\.(inf|nan)", re.I
)
ZERO = re.compile(r"-[0.]+(e[+-]?\d+)?", re.I)


def read(path: str | os.PathLike) -> Any:
    """The content of a YAML file.

    Raises InputError, with line and column, for a file that is none, for a key that stands twice in a mapping, for
    unquoted text that YAML takes for something else than it looks like (010 for 8, 1:30 for 90, off for false), and for
    a negative zero.
    """
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except _Misread as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a readable YAML file ({' '.join(str(error).split())})") from error


class _Misread(Exception):
    def __init__(self, node: yaml.Node, what: str):
        super().__init__(f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}: {what}")


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                name = self.construct_object(key)
                if name in seen:
                    raise _Misread(key, f"the key {key.value!r} stands twice here, and the first would be lost")
                seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        value = super().construct_object(node, deep)
        if isinstance(node, yaml.ScalarNode) and node.style is None:
            if ZERO.fullmatch(node.value):
                raise _Misread(node, f"{node.value} is no other number than 0; write 0")
            if not isinstance(value, str | None) and not WRITTEN.fullmatch(node.value):
                raise _Misread(node, f"YAML reads {node.value} as {value!r}; write '{node.value}' in quotes, or that")
        return value
