"""The paper holds no number that a hand has typed, and is typeset from any study without a blemish."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from pypdf import PdfReader

import synthetic
import tools
from slimming import ledger
from slimming.claims import evaluation, rules
from slimming.reporting import figures, macros, tables, tex

pytestmark = pytest.mark.tools

PAPER = Path(__file__).parents[2] / "paper"
CONFIG = Path(__file__).parents[2] / "config"
RULES = {"claims_files": CONFIG / "claims" / "nonconvex-slimming.yaml", "references_file": CONFIG / "references.csv"}
TEMPLATES = [Path(macros.__file__).parent / "templates" / name for name in ("macros.tex", "claims.tex")]
STUDY = "blueprint"

# Where a digit is no number of the paper, from the widest to the narrowest.
ALLOWED = {
    "comment": r"(?<!\\)%[^\n]*",
    "space in display math": r"\\\\\[[\d.]+ex\](?=[^$]*?\\end\{(?:align|cases)\})",
    "name": r"\\(?:label|ref|autoref|citep|citet|input|includegraphics|bibliography|bibliographystyle)"
    r"(?:\[[^][]*\])?\{[^{}]*\}",
    "width": r"\\setlength\{\\tabcolsep\}\{\dpt\}|p\{0\.\d+\\linewidth\}",
    "span": r"\\multicolumn\{\d\}|\\cmidrule\(lr\)\{\d-\d\}",
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


REPORTS = [PAPER / "paper.tex", PAPER / "literature.tex"]


def paper(path: Path = REPORTS[0]) -> str:
    """A report with its parts in their places."""
    part = lambda found: (PAPER / f"{found[1]}.tex").read_text(encoding="utf-8")  # noqa: E731
    return re.sub(r"\\input\{(parts/\w+)\}", part, path.read_text(encoding="utf-8"))


def changed(old: str, new: str) -> str:
    assert paper().count(old) == 1
    return paper().replace(old, new)


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.stem)
def test_no_digit_of_the_paper_is_typed_by_hand(report):
    assert typed_digits(paper(report)) == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_digit_of_the_generated_words_is_typed_by_hand(template):
    words = re.sub(r"\\multicolumn\{<<.*?>>\}|<%.*?%>|<<.*?>>", "", template.read_text(encoding="utf-8"))
    assert typed_digits(words) == []
    assert typed_digits(words.replace("\n% W", "\n2 prunings\n% W", 1)) == ["2"]


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
        ("we train every", "in 1 hour we train every"),
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


@pytest.mark.tools
@tools.needs("latexmk")
def test_the_noun_of_a_count_of_one_is_singular(tmp_path):
    lines = paper().splitlines()
    defined = [line for line in lines if line.startswith(("\\newcommand{\\justone}", "\\newcommand{\\counted}"))]
    assert len(defined) == 2
    counts = ["\\newcommand{\\SeedCount}{\\num{1}}", "\\newcommand{\\MethodCount}{\\num{3}}"]
    said = "\\counted{Seed}{seed}; \\counted{Method}{method}."
    head, foot = ["\\documentclass{article}", "\\usepackage{siunitx}"], ["\\begin{document}", said, "\\end{document}"]
    (tmp_path / "x.tex").write_text("\n".join([*head, *counts, *defined, *foot]))
    subprocess.run(["latexmk", "-norc", "-pdf", "x.tex"], cwd=tmp_path, capture_output=True, check=True)
    text = PdfReader(tmp_path / "x.pdf").pages[0].extract_text()
    assert text.startswith("1 seed; 3 methods.")


@pytest.fixture(scope="module")
def typeset(tmp_path_factory) -> list[Path]:
    """Two folders with the same study's paper, each typeset on its own."""
    tools.need("latexmk")
    root = tmp_path_factory.mktemp("paper")
    grid = {"networks": ("densenet16", "vgg19"), "methods": ("none", "l1", "lp-0.5", "mcp-500"), "seeds": (1, 2)}
    grid["datasets"] = ("cifar10",)  # of which there are published results
    grid["ratios"] = [percent / 100 for percent in range(20, 90, 10)]  # as many as make a table that has to be turned
    directory = root / "results" / STUDY
    records = synthetic.write(root, STUDY, **grid, scratch=(0.4,), variants=True)
    ledger.write(STUDY, records, directory)
    evaluation.write(directory, RULES["claims_files"], directory / "claims.csv")
    tables.write(directory, directory / "tables")
    figures.write(directory, root / "figures" / STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        macros.write(directory, "numbers", **RULES)
    folders = [root / name for name in ("built", "again")]
    for folder in folders:
        typeset_in(root, folder)
    return folders


def typeset_in(root: Path, folder: Path, report: str = "paper.tex", **environment: str) -> None:
    """Typeset the paper with the numbers in `root` into `folder`, as the workflow does."""
    searched = {"TEXINPUTS": f"numbers:{PAPER}:", "BIBINPUTS": str(PAPER), "max_print_line": "1000"}
    done = subprocess.run(
        ["latexmk", "-norc", "-r", PAPER / "latexmkrc", "-jobname=paper", f"-outdir={folder}", PAPER / report],
        cwd=root, env=os.environ | searched | environment, capture_output=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


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


def test_nothing_of_the_user_s_own_settings_of_tex_is_read(typeset, tmp_path):
    """A latexmkrc that ends the build, one that would hang it, and a class that shadows the real one."""
    (tmp_path / ".latexmkrc").write_text("die 'read';\n")
    (tmp_path / "latexmkrc").write_text("sleep while 1;\n")
    shadow = tmp_path / "texmf/tex/latex/article.cls"
    shadow.parent.mkdir(parents=True)
    shadow.write_text("\\errmessage{read}\n")
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "TEXMFHOME": str(tmp_path / "texmf")}
    typeset_in(typeset[0].parent, tmp_path / "built", **home)
    assert (tmp_path / "built/paper.pdf").read_bytes() == (typeset[0] / "paper.pdf").read_bytes()


def test_the_paper_says_which_study_it_reports_and_prints_its_numbers(typeset):
    text = " ".join(page.extract_text() for page in PdfReader(typeset[0] / "paper.pdf").pages)
    assert f"Study {STUDY}" in " ".join(text.split())
    assert "??" not in text
    assert "16 trainings on CIFAR-10 with DenseNet-16 and VGG-19" in " ".join(text.split())


def test_the_paper_has_every_claim_with_its_verdict_and_published_results_beside_ours(typeset):
    pages = [page.extract_text() for page in PdfReader(typeset[0] / "paper.pdf").pages]
    text = " ".join(" ".join(pages).split())
    for number in range(1, len(rules.load(RULES["claims_files"]).claims) + 1):
        assert f"Claim {number}: " in text
    assert "Claim 4: not attempted." in text
    assert "There are only 2 seeds." in text
    assert "Which came first, the rules or these measurements, is not known" in text
    assert "Published results beside ours" in text
    assert "93.66" in text  # VGG-19 without penalty: an error of 6.34 %
    assert "width 0.125 instead of 1" in text


def test_letters_that_latex_does_not_have_are_formulas(typeset):
    for path in (typeset[0].parent / "numbers").glob("*.tex"):
        assert path.read_text(encoding="utf-8").isascii(), path.name
    assert tex.words("Tℓ1, ℓ1/2, ℓp: 5 %") == r"T$\ell_{1}$, $\ell_{1/2}$, $\ell_{p}$: 5 \%"


def test_a_study_of_which_nothing_was_published_says_so(tmp_path):
    ledger.write(STUDY, synthetic.write(tmp_path, STUDY, networks=("vgg19",), methods=("none", "l1")), tmp_path)
    evaluation.write(tmp_path, RULES["claims_files"], tmp_path / "claims.csv")
    macros.write(tmp_path, tmp_path / "numbers", **RULES)
    assert "Nothing agrees" in (tmp_path / "numbers/claims.tex").read_text()
    sources = json.loads((tmp_path / "numbers/macros.json").read_text())
    assert not [name for name in sources if name.startswith("Published")]


def test_other_papers_have_a_report_of_their_own_with_what_analyses_measured(tmp_path, monkeypatch):
    tools.need("latexmk")
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "results" / STUDY
    ledger.write(STUDY, synthetic.write(tmp_path, STUDY, networks=("vgg19",), methods=("none", "l1")), directory)
    key = ledger.read(directory / "ledger.csv").query("stage == 'trained'")
    key = key[["dataset", "network", "method", "seed", "ratio", "stage"]]
    key.assign(measure="largest-drop", value=-0.25).to_csv(directory / "measures.csv", index=False)
    asked = RULES | {
        "claims_files": [CONFIG / "claims" / f"{name}.yaml" for name in ("unit-ablation", "filter-fusion")]
    }
    evaluation.write(directory, asked["claims_files"], directory / "claims.csv")
    tables.write(directory, directory / "tables")
    figures.write(directory, tmp_path / "figures" / STUDY)
    macros.write(directory, "numbers", **asked)
    typeset_in(tmp_path, tmp_path / "built", "literature.tex")
    text = " ".join(" ".join(page.extract_text() for page in PdfReader(tmp_path / "built/paper.pdf").pages).split())
    assert "Revisiting the Importance of Individual Units in CNNs via Ablation, Zhou" in text
    assert "Bui" not in text
    assert "Largest loss of accuracy without one unit (points)" in text
    assert "??" not in text
    faults = r"^.*(?:undefined|multiply[ -]defined|Missing character).*$"
    assert re.findall(faults, (tmp_path / "built/paper.log").read_text(errors="replace"), re.MULTILINE) == []
