# Training: one job a run. An interrupted job's state lies beside its output and is continued. Where another run trains
# the same network, the job takes that.
rule train:
    input:
        **weights(),
        data=lambda wildcards: prepared(RUNS[wildcards.run]),
        trained=shared("checkpoint"),
        draft=shared("draft"),
    output:
        **made("trained"),
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
        folder=subpath(output[0], parent=True),
    message:
        "train {wildcards.run}"
    shell:
        forgoing(
            "slimming train {params.run:q} {input.trained} --data {input.data} --checkpoints {params.folder} 2> {log}"
        )
