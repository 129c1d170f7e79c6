# Pruning takes all ratios of a run in one job; every training that follows is a job of its own.
PRUNED = [made(*step) for step in STUDY.steps() if STAGES[step[0]].rule == "prune"]


rule prune:
    input:
        checkpoint=made("trained")["checkpoint"],
        data=lambda wildcards: prepared(RUNS[wildcards.run]),
    output:
        checkpoints=[step["checkpoint"] for step in PRUNED],
        drafts=[step["draft"] for step in PRUNED],
    log:
        f"{LOGS}/prune/{{run}}.log",
    benchmark:
        f"{LOGS}/prune/{{run}}.tsv"
    conda:
        "../envs/slimming.yml"
    threads: STUDY.threads
    resources:
        mem_mb=memory,
        runtime=lambda wildcards, attempt: costs.pruning_minutes(
            RUNS[wildcards.run], len(STUDY.ratios), attempt
        ),
        gpu=GPU,
    params:
        **building(),
        code=code("prune"),
        ratios=[f"{ratio:g}" for ratio in STUDY.ratios],
        options=[
            *(["--budget", STUDY.budget] if STUDY.budget else []),
            *(["--round-to", STUDY.round_to] if STUDY.round_to else []),
            *(
                option
                for stage in dict.fromkeys(stage for stage, _ in STUDY.steps())
                if STAGES[stage].rule == "prune"
                for option in STAGES[stage].options
            ),
        ],
        folder=subpath(output[0], parent=True),
    message:
        "prune {wildcards.run}"
    shell:
        forgoing(
            "slimming prune {input.checkpoint} --ratios {params.ratios} {params.options}"
            f"{BUILD} --data {{input.data}} --checkpoints {{params.folder}} > {{log}} 2>&1"
        )


rule finetune:
    input:
        checkpoint=f"{CHECKPOINTS}/{{run}}/pruned-{{ratio}}.safetensors",
        data=lambda wildcards: prepared(RUNS[wildcards.run]),
    output:
        checkpoint=f"{CHECKPOINTS}/{{run}}/finetuned-{{ratio}}.safetensors",
        draft=f"{CHECKPOINTS}/{{run}}/finetuned-{{ratio}}.json",
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
        **building(),
        code=code("finetune"),
        epochs=f"--epochs {STUDY.finetune.epochs}" if STUDY.finetune.epochs else "",
        folder=subpath(output[0], parent=True),
    message:
        "finetune {wildcards.run} at ratio {wildcards.ratio}"
    shell:
        forgoing(
            f"slimming finetune {{input.checkpoint}} {{params.epochs}}{BUILD} --data {{input.data}}"
            " --checkpoints {params.folder} 2> {log}"
        )


rule scratch:
    input:
        checkpoint=f"{CHECKPOINTS}/{{run}}/pruned-{{ratio}}.safetensors",
        data=lambda wildcards: prepared(RUNS[wildcards.run]),
    output:
        checkpoint=f"{CHECKPOINTS}/{{run}}/{{stage}}-{{ratio}}.safetensors",
        draft=f"{CHECKPOINTS}/{{run}}/{{stage}}-{{ratio}}.json",
    log:
        f"{LOGS}/scratch/{{run}}/{{stage}}-{{ratio}}.log",
    benchmark:
        f"{LOGS}/scratch/{{run}}/{{stage}}-{{ratio}}.tsv"
    wildcard_constraints:
        stage="|".join(stage.name for stage in made_by("scratch")),
    conda:
        "../envs/slimming.yml"
    threads: STUDY.threads
    resources:
        mem_mb=memory,
        runtime=training_minutes(),
        gpu=GPU,
    params:
        **building(),
        code=code("scratch"),
        options=lambda wildcards: STAGES[wildcards.stage].options,
        folder=subpath(output[0], parent=True),
    message:
        "{wildcards.stage} {wildcards.run} at ratio {wildcards.ratio}"
    shell:
        forgoing(
            f"slimming scratch {{input.checkpoint}} {{params.options}}{BUILD}"
            " --data {input.data} --checkpoints {params.folder} 2> {log}"
        )
