"""What archives and reviewers read of a study: CODECHECK's manifest and a Workflow RO-Crate's metadata.

`codecheck.yml` lists what a codechecker has to make again (CODECHECK); whoever checks adds name and report.
`ro-crate-metadata.json` describes workflow, study and products (WORKFLOW_CRATE). Who and what is cited comes from
CITATION.cff. The same products of the same time give the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import yaml

from slimming import tensorfile
from slimming.errors import InputError
from slimming.study import Study

CITATION = Path("CITATION.cff")
CODECHECK = "https://codecheck.org.uk/spec/config/1.0/"
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
KINDS = {  # by suffix: what a product is, in a word, and its media type
    ".csv": ("table", "text/csv"),
    ".tex": ("table, for LaTeX", "application/x-tex"),
    ".svg": ("figure", "image/svg+xml"),
    ".png": ("figure", "image/png"),
    ".pdf": ("figure, or the paper", "application/pdf"),
    ".json": ("numbers", "application/json"),
}


def write(study: Study, products: Sequence[str], folder: str | os.PathLike = ".") -> None:
    """Write codecheck.yml and ro-crate-metadata.json of `products`, paths in the project's `folder`, into it.

    Raises InputError for a product that is not there and for an unreadable CITATION.cff.
    """
    folder = Path(folder)
    for name in products:
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; make the study first")
    try:
        citation = yaml.safe_load((folder / CITATION).read_text(encoding="utf-8"))
        citation["title"], citation["authors"], citation["references"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / CITATION}: not readable, or without title, authors or references ({error})"
        ) from error
    tensorfile.write_text(folder / "codecheck.yml", codecheck(study, products, citation))
    tensorfile.write_text(folder / "ro-crate-metadata.json", crate(study, products, citation, folder))


def codecheck(study: Study, products: Sequence[str], citation: dict) -> str:
    """CODECHECK's configuration file, as its author begins it."""
    reference = next(item["value"] for item in citation["references"][0]["identifiers"])
    content = {
        "version": CODECHECK,
        "source": f"snakemake --cores all, with the study {study.name}",
        "paper": {
            "title": citation["title"],
            "authors": [{"name": _name(author)} for author in citation["authors"]],
            "reference": f"replicates {citation['references'][0]['title']}, {reference}",
        },
        "manifest": [
            {"file": name, "comment": f"{KINDS[Path(name).suffix][0]} of study {study.name}"} for name in products
        ],
    }
    return "---\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def crate(study: Study, products: Sequence[str], citation: dict, folder: Path) -> str:
    """A Workflow RO-Crate's metadata: the Snakefile, and what it made."""
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

    made = ROCrate(version="1.1")
    root = made.root_dataset
    root["conformsTo"] = made.add(
        _entity(ContextEntity, made, WORKFLOW_CRATE, "CreativeWork", name="Workflow RO-Crate")
    )
    made.name = citation["title"]
    made.description = f"Study {study.name}. {study.description}".strip()
    made.license = made.add(
        _entity(ContextEntity, made, f"https://spdx.org/licenses/{citation['license']}", "CreativeWork", name="MIT")
    )
    newest = max((folder / name).stat().st_mtime for name in products)
    made.datePublished = datetime.fromtimestamp(newest, UTC).date()
    authors = [
        made.add(_entity(ContextEntity, made, f"#author-{number}", _kind(author), name=_name(author)))
        for number, author in enumerate(citation["authors"], 1)
    ]
    made.creator = authors
    replicated = citation["references"][0]
    root["citation"] = made.add(_entity(ContextEntity, made, "#paper", "ScholarlyArticle", name=replicated["title"]))
    workflow = made.add_workflow("Snakefile", main=True, lang="snakemake", lang_version=version("snakemake"))
    workflow["name"], workflow["creator"], workflow["license"] = citation["title"], authors, made.license
    for name in products:
        what, media = KINDS[Path(name).suffix]
        made.add_file(name, name, properties={"name": f"{Path(name).stem}: {what}", "encodingFormat": media})
    return json.dumps(made.metadata.generate(), indent=1, sort_keys=True) + "\n"


def _entity(kind: type, made: object, identifier: str, types: str, **properties: str) -> object:
    return kind(made, identifier, properties={"@type": types, **properties})


def _kind(author: dict) -> str:
    return "Person" if "family-names" in author else "Organization"


def _name(author: dict) -> str:
    return author.get("name") or f"{author['given-names']} {author['family-names']}"
