# What methods found out while they planned: a table beside the ledger, and its figures.
if STUDY.finds():

    localrules:
        findings,
        found,

    rule findings:
        input:
            records=rules.records.input,
        output:
            f"{RESULTS}/findings.csv",
        log:
            f"{LOGS}/findings.log",
        benchmark:
            f"{LOGS}/findings.tsv"
        conda:
            "../envs/slimming.yml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
            gpu=0,
        params:
            code=closure("findings"),
            study=STUDY.settings(),
            records=lambda wildcards: RECORDS,
        message:
            f"findings of {STUDY.name}"
        shell:
            "slimming findings {params.study:q} --records {params.records} --output {output} 2> {log}"

    rule found:
        input:
            rules.findings.output,
        output:
            report(
                expand(
                    f"{FIGURES}/{{name}}-{{dataset}}.svg",
                    name=STUDY.finds(),
                    dataset=STUDY.datasets,
                ),
                category="Figures",
                caption="../report/figure.rst",
            ),
            expand(
                f"{FIGURES}/{{name}}-{{dataset}}.{{format}}",
                name=STUDY.finds(),
                dataset=STUDY.datasets,
                format=["pdf", "png"],
            ),
        log:
            f"{LOGS}/found.log",
        benchmark:
            f"{LOGS}/found.tsv"
        conda:
            "../envs/slimming.yml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
            gpu=0,
        params:
            code=closure("reporting.found"),
            directory=subpath(output[0], parent=True),
        message:
            f"figures of findings of {STUDY.name}"
        shell:
            "slimming found {input} --output {params.directory} 2> {log}"
