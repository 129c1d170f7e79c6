# From records to what people read. Everything after `ledger` needs the ledger's files alone.
from slimming.reporting.tables import LISTINGS, of_stages

LEDGER = {
    name: f"{RESULTS}/{name}.csv"
    for name in (COMPANIONS if STUDY.allow_missing else LEDGER_TABLES)
}
TABLES = list(of_stages(stage for stage, _ in STUDY.steps()))
DRAWINGS = [
    "accuracy-ratio",
    "accuracy-parameters",
    "accuracy-macs",
    "accuracy-latency",
    "scaling-factors",
    "channels-kept",
    "training-curves",
]
MEASURES = [f"{RESULTS}/measures.csv"] if STUDY.analyses else []
MEASURING = [f"analyses.{name.replace('-', '_')}" for name in STUDY.analyses]
LOOKS = [
    f"{FIGURES}/{figure}-{dataset}.svg"
    for name in STUDY.analyses
    for figure in analyses.get(name).figures
    for dataset in STUDY.datasets
]
CLAIMS = [own(f"config/claims/{paper}.yaml") for paper in STUDY.claims]
NUMBERS = f"{RESULTS}/paper"  # what the paper prints of this study
PAPER = f"{RESULTS}/paper.pdf"


localrules:
    ledger,
    tables,
    figures,
    claims,
    page,
    macros,
    paper,


rule ledger:
    input:
        records=rules.records.input,
    output:
        **LEDGER,
    log:
        f"{LOGS}/ledger.log",
    benchmark:
        f"{LOGS}/ledger.tsv"
    conda:
        "../envs/slimming.yml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        code=closure("ledger"),
        study=STUDY.settings(),
        records=lambda wildcards: RECORDS,
        directory=subpath(output.ledger, parent=True),
    message:
        f"ledger of {STUDY.name}"
    shell:
        "slimming ledger {params.study:q} --records {params.records} --output {params.directory} 2> {log}"


rule tables:
    input:
        ledger=LEDGER.values(),
    output:
        report(
            expand(
                f"{RESULTS}/tables/{{name}}.csv",
                name=[*TABLES, *LISTINGS],
            ),
            category="Tables",
            caption="../report/table.rst",
        ),
        expand(
            f"{RESULTS}/tables/{{name}}-{{dataset}}.tex",
            name=TABLES,
            dataset=STUDY.datasets,
        ),
        expand(f"{RESULTS}/tables/{{name}}.tex", name=LISTINGS),
    log:
        f"{LOGS}/tables.log",
    benchmark:
        f"{LOGS}/tables.tsv"
    conda:
        "../envs/slimming.yml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        code=closure("reporting.tables"),
        ledger=lambda wildcards: RESULTS,
        directory=subpath(output[0], parent=True),
    message:
        f"tables of {STUDY.name}"
    shell:
        "slimming tables {params.ledger} --output {params.directory} 2> {log}"


rule figures:
    input:
        ledger=LEDGER.values(),
    output:
        report(
            expand(
                f"{FIGURES}/{{name}}-{{dataset}}.svg",
                name=DRAWINGS,
                dataset=STUDY.datasets,
            ),
            category="Figures",
            caption="../report/figure.rst",
        ),
        expand(
            f"{FIGURES}/{{name}}-{{dataset}}.{{format}}",
            name=DRAWINGS,
            dataset=STUDY.datasets,
            format=["pdf", "png"],
        ),
    log:
        f"{LOGS}/figures.log",
    benchmark:
        f"{LOGS}/figures.tsv"
    conda:
        "../envs/slimming.yml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        code=closure("reporting.figures"),
        ledger=lambda wildcards: RESULTS,
        directory=subpath(output[0], parent=True),
    message:
        f"figures of {STUDY.name}"
    shell:
        "slimming figures {params.ledger} --output {params.directory} 2> {log}"


rule claims:
    input:
        ledger=LEDGER.values(),
        measures=MEASURES,
        rules=CLAIMS,
    output:
        report(
            f"{RESULTS}/claims.csv",
            category="Claims",
            caption="../report/claims.rst",
        ),
    log:
        f"{LOGS}/claims.log",
    benchmark:
        f"{LOGS}/claims.tsv"
    conda:
        "../envs/slimming.yml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        code=closure("claims.evaluation", *MEASURING),
        ledger=lambda wildcards: RESULTS,
    message:
        f"verdicts on the claims, from {STUDY.name}"
    shell:
        "slimming claims {params.ledger} --claims {input.rules:q} --output {output} 2> {log}"


rule page:
    input:
        ledger=LEDGER.values(),
        claims=rules.claims.output,
        rules=CLAIMS,
        papers=own("config/claims/papers.csv"),
        measures=MEASURES,
        drawn=LOOKS,
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/page.log",
    benchmark:
        f"{LOGS}/page.tsv"
    conda:
        "../envs/slimming.yml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        code=closure(
            "reporting.page",
            *MEASURING,
            templates=("page.html", "page.css", "page.js", "curves.js", "ledger.js"),
        ),
        ledger=lambda wildcards: RESULTS,
        reaffirmed=REAFFIRMED,
    message:
        f"page of {STUDY.name}"
    shell:
        "slimming page {params.ledger} --claims {input.rules:q} --output {output}"
        " --reaffirmed {params.reaffirmed:q} --figures {input.drawn:q} 2> {log}"


rule macros:
    input:
        ledger=LEDGER.values(),
        claims=rules.claims.output,
        rules=CLAIMS,
        papers=own("config/claims/papers.csv"),
        measures=MEASURES,
        references=own("config/references.csv"),
    output:
        f"{NUMBERS}/macros.tex",
        f"{NUMBERS}/macros.json",
        f"{NUMBERS}/claims.tex",
    log:
        f"{LOGS}/macros.log",
    benchmark:
        f"{LOGS}/macros.tsv"
    conda:
        "../envs/slimming.yml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        code=closure(
            "reporting.macros", *MEASURING, templates=("macros.tex", "claims.tex")
        ),
        ledger=lambda wildcards: RESULTS,
        directory=subpath(output[0], parent=True),
    message:
        f"numbers of the paper, from {STUDY.name}"
    shell:
        "slimming macros {params.ledger} --claims {input.rules:q} --references {input.references:q}"
        " --output {params.directory} 2> {log}"


rule paper:
    input:
        rules.macros.output,
        rules.tables.output,
        rules.figures.output,
        drawn=LOOKS,
        text=own(
            f"paper/{'paper' if 'nonconvex-slimming' in STUDY.claims else 'literature'}.tex"
        ),
        parts=[
            own(f"paper/parts/{part}.tex")
            for part in ("preamble", "verdicts", "judged", "accuracy", "appendix")
        ],
        literature=own("paper/refs.bib"),
        settings=own("paper/latexmkrc"),
    output:
        report(PAPER, category="Paper", caption="../report/paper.rst"),
    log:
        f"{LOGS}/paper.log",
    benchmark:
        f"{LOGS}/paper.tsv"
    conda:
        "../envs/slimming.yml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        numbers=lambda wildcards: NUMBERS,
        literature=lambda wildcards, input: Path(input.literature).parent,
        build=f"{LOGS}/paper",
    message:
        f"typeset the paper on {STUDY.name}"
    shell:
        "TEXINPUTS={params.numbers}:{params.literature:q}: BIBINPUTS={params.literature:q}: latexmk -norc -r {input.settings:q}"
        " -jobname=paper -outdir={params.build} {input.text:q} > {log} 2>&1 && cp {params.build}/paper.pdf {output}"
