"""The paper holds no number that a hand has typed, and is typeset from any study without a blemish."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pypdf import PdfReader

import synthetic
from slimming import ledger
from slimming.reporting import figures, macros, tables

PAPER = Path(__file__).parents[2] / "paper"
TEMPLATE = Path(macros.__file__).parent / "templates" / "macros.tex"
TYPESET = ["latexmk", "-cd", "-pdf", "-halt-on-error", "-interaction=nonstopmode"]  # as the workflow does
STUDY = "blueprint"

# Where a digit is no number of the paper, from the widest to the narrowest.
ALLOWED = {
    "comment": r"(?<!\\)%[^\n]*",
    "space in display math": r"\\\\\[[\d.]+ex\](?=[^$]*?\\end\{(?:align|cases)\})",
    "name": r"\\(?:label|ref|autoref|citep|citet|input|includegraphics|bibliography|bibliographystyle)"
    r"(?:\[[^][]*\])?\{[^{}]*\}",
    "number of arguments": r"(?<=\})\[\d\](?=\{)",
    "argument": r"#\d",
}
# The one-digit constants of a formula that stands on its own; its words are prose.
DISPLAY = r"\\begin\{(equation|align)\}(.*?)\\end\{\1\}"
CONSTANT = r"(?<![\d.,])\d(?![\d.,]*\d)"


def typed_digits(tex: str) -> list[str]:
    """The words with a digit in the title and the body of a LaTeX file, but for ALLOWED and constants of formulas."""
    preamble, begin, body = tex.rpartition("\\begin{document}")
    titles = re.findall(r"^\\(?:title|author|date)\{.*$", preamble, re.MULTILINE) if begin else []
    text = "\n".join([*titles, body])
    for pattern in ALLOWED.values():
        text = re.sub(pattern, " ", text)
    text = re.sub(DISPLAY, lambda formula: re.sub(CONSTANT, " ", formula[2]), text, flags=re.DOTALL)
    return re.findall(r"\S*\d\S*", text)


def paper() -> str:
    return (PAPER / "paper.tex").read_text(encoding="utf-8")


def changed(old: str, new: str) -> str:
    assert paper().count(old) == 1
    return paper().replace(old, new)


def test_no_digit_of_the_paper_is_typed_by_hand():
    assert typed_digits(paper()) == []


def test_no_digit_of_the_generated_words_is_typed_by_hand():
    words = re.sub(r"<%.*?%>|<<.*?>>", "", TEMPLATE.read_text(encoding="utf-8"))
    assert typed_digits(words) == []
    assert typed_digits(words.replace("Right after pruning", "Right after 2 prunings")) == ["2"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Accuracy is measured", "Accuracy of 97 per cent is measured"),
        ("Accuracy is measured", "Accuracy is measured 3 times"),
        ("Accuracy is measured", "Accuracy of \\num{97.5} is measured"),
        ("Accuracy is measured", "Accuracy of $97.5$ is measured"),
        ("Accuracy is measured", "Accuracy of 97\\,\\% is measured"),
        ("Accuracy is measured", "\\[ x = 97 \\] Accuracy is measured"),
        ("Accuracy is measured", "Accuracy (\\autoref{tab:a}, 97) is measured"),
        ("Accuracy is measured", "Accuracy of \\textbf{9} is measured"),
        ("We train every", "In 1 hour we train every"),
        ("\\paragraph{What was hard.}", "\\paragraph{What was hard in 2 ways.}"),
        ("\\title{Network slimming", "\\title{Network slimming 2"),
        (
            "paired by\n    seed.}\n  \\resulttable{difference-f",
            "paired by\n    5 seeds.}\n  \\resulttable{difference-f",
        ),
        ("Parameters of networks for #2", "Parameters of 3 networks for #2"),
        ("\\qquad 0 < p < 1", "\\qquad 0.5 < p < 1"),
        ("\\qquad a > 0", "\\qquad a > 10"),
        ("\\begin{document}", "\\begin{document} ٣"),
    ],
)
def test_a_digit_typed_into_the_paper_is_found(old, new):
    assert len(typed_digits(changed(old, new))) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Accuracy is measured", "% In 2019\nAccuracy is measured"),
        ("Accuracy is measured", "Accuracy~\\citep{bui2021improving} is measured"),
        ("Accuracy is measured", "Accuracy (\\autoref{tab:2}) is measured"),
        ("\\qquad a > 0", "\\qquad a > 2"),
        ("11pt,a4paper", "12pt,a4paper"),
    ],
)
def test_a_digit_that_is_no_number_of_the_paper_is_not(old, new):
    assert typed_digits(changed(old, new)) == []


@pytest.fixture(scope="module")
def typeset(tmp_path_factory) -> list[Path]:
    """Two folders with the same study's paper, each typeset on its own."""
    if not shutil.which("latexmk"):
        pytest.skip("needs latexmk, of TeX Live")
    root = tmp_path_factory.mktemp("paper")
    grid = {"networks": ("densenet16", "vgg19"), "methods": ("none", "l1", "lp-0.5", "mcp-500"), "seeds": (1, 2)}
    grid["ratios"] = [percent / 100 for percent in range(20, 90, 10)]  # as many as make a table that has to be turned
    directory = root / "results" / STUDY
    ledger.write(STUDY, synthetic.write(root, STUDY, **grid), directory)
    tables.write(directory, directory / "tables")
    figures.write(directory, root / "figures" / STUDY)
    environment = os.environ | {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1", "max_print_line": "1000"}
    folders = [root / name for name in ("paper", "again")]
    for folder in folders:
        folder.mkdir()
        for name in ("paper.tex", "refs.bib"):
            shutil.copy(PAPER / name, folder)
        macros.write(directory, folder / "generated")
        done = subprocess.run(
            [*TYPESET, folder / "paper.tex"], env=environment, capture_output=True, encoding="utf-8", errors="replace"
        )
        assert done.returncode == 0, done.stdout[-3000:]
    return folders


def log(typeset: list[Path]) -> str:
    return (typeset[0] / "paper.log").read_text(encoding="utf-8", errors="replace")


def test_every_reference_and_citation_is_defined(typeset):
    faults = r"^.*(?:undefined|multiply[ -]defined|Label\(s\) may have changed|Missing character).*$"
    assert re.findall(faults, log(typeset), re.MULTILINE) == []
    assert "Warning--" not in (typeset[0] / "paper.blg").read_text()


def test_no_line_runs_into_the_margin(typeset):
    widths = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)[^\n]*", log(typeset))
    assert [width for width in widths if float(width) > 1] == []


def test_the_same_study_gives_the_same_bytes(typeset):
    one, two = ((folder / "paper.pdf").read_bytes() for folder in typeset)
    assert one == two
    assert b"CreationDate" not in one


def test_the_paper_says_which_study_it_reports_and_prints_its_numbers(typeset):
    text = " ".join(page.extract_text() for page in PdfReader(typeset[0] / "paper.pdf").pages)
    assert f"Study {STUDY}" in " ".join(text.split())
    assert "??" not in text
    assert "16 trainings on digits with DenseNet-16 and VGG-19" in " ".join(text.split())
