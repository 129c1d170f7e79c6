"""codecheck.yml and ro-crate-metadata.json are what their specifications ask for, and the same each time."""

from __future__ import annotations

import email
import io
import json
import shutil
import urllib.request
import urllib.response
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from slimming import study
from slimming.errors import InputError
from slimming.store import crate

ROOT = Path(__file__).parents[2]
PRODUCTS = [
    "results/quick/ledger.csv",
    "results/quick/tables/accuracy-pruned.csv",
    "figures/quick/channels-kept-digits.svg",
]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a study's products and their metadata."""
    for name in (*PRODUCTS, "CITATION.cff", "Snakefile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    crate.write(study.load(ROOT / "config/quick.yaml"), PRODUCTS, tmp_path)
    return tmp_path


def test_codecheck_has_what_its_specification_asks_of_authors(folder):
    """Its R package also wants a certificate, a codechecker and a report, which only a check can give."""
    text = (folder / "codecheck.yml").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    content = yaml.safe_load(text)
    assert content["version"] == "https://codecheck.org.uk/spec/config/1.0/"
    assert [item["file"] for item in content["manifest"]] == PRODUCTS
    assert all((folder / item["file"]).is_file() for item in content["manifest"])
    assert content["paper"]["title"]
    assert all(author["name"] for author in content["paper"]["authors"])
    assert "arXiv:2010.01242" in content["paper"]["reference"]


pytest.importorskip("rocrate", reason="rocrate is not installed")


class Context(urllib.request.BaseHandler):
    """Stands in for w3id.org: RO-Crate's context as the library `rocrate` brings it, with the term of version 1.1."""

    handler_order = 1
    text = (
        files("rocrate")
        .joinpath("data/ro-crate.jsonld")
        .read_bytes()
        .replace(b"bioschemas.org/terms/", b"bioschemas.org/")
    )

    def https_open(self, request: urllib.request.Request) -> urllib.response.addinfourl:
        headers = email.message_from_string("Content-Type: application/ld+json\n\n")
        return urllib.response.addinfourl(io.BytesIO(self.text), headers, request.full_url, 200)


def faults(folder: Path, monkeypatch) -> list[str]:
    """What RO-Crate's validator finds against the profile of workflows."""
    models = pytest.importorskip("rocrate_validator.models", reason="roc-validator is not installed")
    import requests
    from rocrate_validator import services
    from rocrate_validator.utils import http

    def get(self, url, **_):
        answer = requests.Response()
        answer.status_code, answer.url, answer._content = 200, url, Context.text
        answer.headers["Content-Type"] = "application/ld+json"
        return answer

    monkeypatch.setattr(http.HttpRequester, "get", get, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", urllib.request.build_opener(Context))
    settings = services.ValidationSettings(
        rocrate_uri=str(folder),
        profile_identifier="workflow-ro-crate-1.0",
        requirement_severity=models.Severity.REQUIRED,
    )
    return [f"{issue.check.identifier}: {issue.message}" for issue in services.validate(settings).get_issues()]


def test_crate_is_valid_by_the_validator(folder, monkeypatch):
    assert faults(folder, monkeypatch) == []


def test_the_validator_notices_a_crate_without_its_workflow(folder, monkeypatch):
    path = folder / "ro-crate-metadata.json"
    content = json.loads(path.read_text())
    root = next(entity for entity in content["@graph"] if entity["@id"] == "./")
    del root["mainEntity"]
    path.write_text(json.dumps(content))
    assert faults(folder, monkeypatch)


def test_the_same_products_give_the_same_bytes(folder):
    before = {name: (folder / name).read_bytes() for name in ("codecheck.yml", "ro-crate-metadata.json")}
    crate.write(study.load(ROOT / "config/quick.yaml"), PRODUCTS, folder)
    assert before == {name: (folder / name).read_bytes() for name in before}


def test_a_missing_product_is_refused(folder):
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        crate.write(study.load(ROOT / "config/quick.yaml"), ["none.csv"], folder)
