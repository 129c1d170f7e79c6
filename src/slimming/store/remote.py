"""DVC's default remote, as far as its configuration says: whether it can have what is not stored here.

Not for fetching: `dvc pull` does that.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path

FOLDER = Path(".dvc")


def default() -> str | None:
    """The address of the default remote, a folder as seen from here; None where there is none."""
    config = configparser.ConfigParser(interpolation=None)
    # What a user sets for this clone alone counts more.
    config.read([FOLDER / "config", FOLDER / "config.local"], encoding="utf-8")
    name = config.get("core", "remote", fallback=None)
    url = config.get(f"'remote \"{name}\"'", "url", fallback=None)
    return os.path.normpath(FOLDER / url) if url and "://" not in url else url


def advice() -> str:
    """How to come by what is not stored here, in words."""
    url = default()
    if url is None:
        return "no remote is set up; running the study makes it"
    if "://" not in url and not os.path.isdir(url):
        return f"no remote has it: the default one, the folder {url}, is not there; running the study makes it"
    return f"`dvc pull` brings it, if {url} has it"
