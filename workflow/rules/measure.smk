# Measuring: one job a run, from its checkpoints, so that a new figure trains nothing again.
rule measure:
    input:
        data=lambda wildcards: prepared(RUNS[wildcards.run]),
        checkpoints=[step["checkpoint"] for step in MADE],
        drafts=[step["draft"] for step in MADE],
    output:
        [step["record"] for step in RECORDED],
    log:
        f"{LOGS}/measure/{{run}}.log",
    benchmark:
        f"{LOGS}/measure/{{run}}.tsv"
    conda:
        "../envs/slimming.yml"
    threads: STUDY.threads
    resources:
        mem_mb=memory,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=GPU,
    params:
        **building(),
        code=lambda wildcards: closure(
            "stages.measure",
            *of_network(KINDS[wildcards.run]),
        ),
        folder=subpath(output[0], parent=True),
    message:
        "measure {wildcards.run}"
    shell:
        "slimming measure {input.checkpoints} --data {input.data} --records {params.folder}"
        f"{BUILD} > {{log}} 2>&1"


rule records:
    input:
        every(RECORDED),
