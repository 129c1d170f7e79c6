# Analyses: what the networks of a run do, beside how well; one job a run, tables beside the ledger, and their figures.
if STUDY.analyses:

    localrules:
        tabulate,
        draw,

    ANALYSES = f"{RESULTS}/analyses"
    ANALYSED = [
        {"found": f"{ANALYSES}/{{run}}/{stem(*step)}.json"}
        for step in STUDY.steps()
    ]

    rule analyse:
        input:
            data=lambda wildcards: prepared(RUNS[wildcards.run]),
            checkpoints=[step["checkpoint"] for step in MADE],
            drafts=[step["draft"] for step in MADE],
        output:
            [step["found"] for step in ANALYSED],
        log:
            f"{LOGS}/analyse/{{run}}.log",
        benchmark:
            f"{LOGS}/analyse/{{run}}.tsv"
        conda:
            "../envs/slimming.yml"
        threads: STUDY.threads
        resources:
            mem_mb=memory,
            runtime=lambda wildcards, attempt: 120 * attempt,
            gpu=GPU,
        params:
            **building(),
            code=lambda wildcards: closure(
                "stages.analyse",
                *MEASURING,
                *of_network(KINDS[wildcards.run]),
            ),
            names=STUDY.analyses,
            folder=subpath(output[0], parent=True),
        message:
            "analyse {wildcards.run}"
        shell:
            "slimming analyse {input.checkpoints} --analyses {params.names}"
            f"{BUILD} --data {{input.data}} --output {{params.folder}} > {{log}} 2>&1"

    rule tabulate:
        input:
            every(ANALYSED),
        output:
            tables=[
                f"{RESULTS}/{analyses.get(name).table}.csv" for name in STUDY.analyses
            ],
            measures=f"{RESULTS}/measures.csv",
        log:
            f"{LOGS}/tabulate.log",
        benchmark:
            f"{LOGS}/tabulate.tsv"
        conda:
            "../envs/slimming.yml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
            gpu=0,
        params:
            code=closure("analysed", *MEASURING),
            study=STUDY.settings(),
            folder=ANALYSES,
            directory=subpath(output[0], parent=True),
        message:
            f"tables of analyses of {STUDY.name}"
        shell:
            "slimming tabulate {params.study:q} --analyses {params.folder} --output {params.directory} 2> {log}"

    rule draw:
        input:
            rules.tabulate.output.tables,
        output:
            report(
                LOOKS,
                category="Figures",
                caption="../report/figure.rst",
            ),
            [
                Path(look).with_suffix(f".{format}")
                for look in LOOKS
                for format in ("pdf", "png")
            ],
        log:
            f"{LOGS}/draw.log",
        benchmark:
            f"{LOGS}/draw.tsv"
        conda:
            "../envs/slimming.yml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
            gpu=0,
        params:
            code=closure("reporting.analysed", *MEASURING),
            directory=subpath(output[0], parent=True),
        message:
            f"figures of analyses of {STUDY.name}"
        shell:
            "slimming draw {input} --output {params.directory} 2> {log}"
