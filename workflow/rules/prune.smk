# Pruning takes all ratios of a run in one job; every training that follows is a job of its own.
PRUNED = [
    products(*step) for step in STUDY.steps() if step[0] in record_files.UNTRAINED
]
BUDGETS = {stage: budget for budget, stage in record_files.BUDGETS.items()}


rule prune:
    input:
        checkpoint=products("trained")["checkpoint"],
        data=lambda wildcards: prepared(RUNS[wildcards.run]),
    output:
        checkpoints=[step["checkpoint"] for step in PRUNED],
        records=[step["record"] for step in PRUNED],
    log:
        f"{LOGS}/prune/{{run}}.log",
    benchmark:
        f"{LOGS}/prune/{{run}}.tsv"
    conda:
        "../envs/slimming.yml"
    threads: STUDY.threads
    resources:
        mem_mb=memory,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=GPU,
    params:
        code=code("prune"),
        ratios=[f"{ratio:g}" for ratio in STUDY.ratios],
        variants=[
            f"--{key}" for key in record_files.VARIANTS.values() if getattr(STUDY, key)
        ],
        folders=folders,
    message:
        "prune {wildcards.run}"
    shell:
        "slimming prune {input.checkpoint} --ratios {params.ratios} {params.variants}"
        " --data {input.data} {params.folders} > {log} 2>&1"


rule finetune:
    input:
        checkpoint=f"{CHECKPOINTS}/{{run}}/pruned-{{ratio}}.safetensors",
        data=lambda wildcards: prepared(RUNS[wildcards.run]),
    output:
        checkpoint=f"{CHECKPOINTS}/{{run}}/finetuned-{{ratio}}.safetensors",
        record=f"{RECORDS}/{{run}}/finetuned-{{ratio}}.json",
    log:
        f"{LOGS}/finetune/{{run}}-{{ratio}}.log",
    benchmark:
        f"{LOGS}/finetune/{{run}}-{{ratio}}.tsv"
    conda:
        "../envs/slimming.yml"
    threads: STUDY.threads
    resources:
        mem_mb=memory,
        runtime=training_minutes(STUDY.finetune.epochs),
        gpu=GPU,
    params:
        code=code("finetune"),
        epochs=f"--epochs {STUDY.finetune.epochs}" if STUDY.finetune.epochs else "",
        folders=folders,
    message:
        "finetune {wildcards.run} at ratio {wildcards.ratio}"
    shell:
        "slimming finetune {input.checkpoint} {params.epochs} --data {input.data} {params.folders} 2> {log}"


rule scratch:
    input:
        checkpoint=f"{CHECKPOINTS}/{{run}}/pruned-{{ratio}}.safetensors",
        data=lambda wildcards: prepared(RUNS[wildcards.run]),
    output:
        checkpoint=f"{CHECKPOINTS}/{{run}}/{{stage}}-{{ratio}}.safetensors",
        record=f"{RECORDS}/{{run}}/{{stage}}-{{ratio}}.json",
    log:
        f"{LOGS}/scratch/{{run}}/{{stage}}-{{ratio}}.log",
    benchmark:
        f"{LOGS}/scratch/{{run}}/{{stage}}-{{ratio}}.tsv"
    wildcard_constraints:
        stage="|".join(BUDGETS),
    conda:
        "../envs/slimming.yml"
    threads: STUDY.threads
    resources:
        mem_mb=memory,
        runtime=training_minutes(),
        gpu=GPU,
    params:
        code=code("scratch"),
        budget=lambda wildcards: BUDGETS[wildcards.stage],
        folders=folders,
    message:
        "{wildcards.stage} {wildcards.run} at ratio {wildcards.ratio}"
    shell:
        "slimming scratch {input.checkpoint} --budget {params.budget}"
        " --data {input.data} {params.folders} 2> {log}"
