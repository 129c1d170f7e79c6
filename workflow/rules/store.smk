# Stored results: what DVC compares, and the provenance that goes with results from clone to clone.
localrules:
    metrics,
    crate,


rule metrics:
    input:
        ledger=LEDGER.values(),
    output:
        sorted({f"{RESULTS}/metrics/{Path(run).parent}.json" for run in RUNS}),
    log:
        f"{LOGS}/metrics.log",
    benchmark:
        f"{LOGS}/metrics.tsv"
    conda:
        "../envs/slimming.yml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        code=closure("reporting.metrics"),
        ledger=lambda wildcards: RESULTS,
        directory=lambda wildcards: f"{RESULTS}/metrics",
    message:
        f"metrics of {STUDY.name}"
    shell:
        "slimming metrics {params.ledger} --output {params.directory} 2> {log}"


# Not part of `all`: asked for by name before a study is archived or sent to a reviewer.
rule crate:
    input:
        products=[
            *LEDGER.values(),
            *rules.claims.output,
            *rules.tables.output,
            *rules.figures.output,
        ],
        paper=rules.paper.output if LATEXMK else [],
        citation=own("CITATION.cff"),
    output:
        "codecheck.yml",
        "ro-crate-metadata.json",
    log:
        f"{LOGS}/crate.log",
    benchmark:
        f"{LOGS}/crate.tsv"
    conda:
        "../envs/slimming.yml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        code=closure("store.crate"),
        study=STUDY.settings(),
    message:
        f"metadata of {STUDY.name} for archives"
    shell:
        "slimming crate {params.study:q} {input.products} {input.paper} 2> {log}"


# What DVC keeps because git should not, and what takes hours to make again.
STORED = [*dict.fromkeys(map(prepared, RUNS.values())), *every(MADE), *every(RECORDED)]
PRODUCTS = [
    *STORED,
    *(
        output
        for rule in workflow.rules
        if not rule.has_wildcards()
        for output in rule.output
    ),
]

if workflow.is_main_process:  # a cluster's jobs read this file too
    # Jobs that ran here and may have ended when no Snakemake saw it. To make these again takes little time.
    unseen = [path for _, made in states() for path in made]
    for rule, steps in (("prune", PRUNED), ("measure", RECORDED)):
        begun = [run for run in RUNS if Path(LOGS, rule, f"{run}.log").exists()]
        unseen += every(steps, begun)
    try:
        provenance.restore(JOBS, STORED, unseen)
    except InputError as error:
        sys.exit(f"slimming: error: {error}")
