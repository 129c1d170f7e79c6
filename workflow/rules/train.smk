# Training: one job a run. An interrupted job's state lies beside its output and is continued.
rule train:
    input:
        data=lambda wildcards: prepared(RUNS[wildcards.run]),
    output:
        **products("trained"),
    log:
        f"{LOGS}/train/{{run}}.log",
    benchmark:
        f"{LOGS}/train/{{run}}.tsv"
    conda:
        "../envs/slimming.yml"
    threads: STUDY.threads
    resources:
        mem_mb=memory,
        runtime=training_minutes(),
        gpu=GPU,
    params:
        code=code("train"),
        run=lambda wildcards: RUNS[wildcards.run].settings(),
        folders=folders,
    message:
        "train {wildcards.run}"
    shell:
        "slimming train {params.run:q} --data {input.data} {params.folders} 2> {log}"
