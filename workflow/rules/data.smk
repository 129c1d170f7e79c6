# Data sets: fetched where their files are missing, and written once for all jobs.
SIZES = {Path(prepared(run)).stem: run for run in RUNS.values()}


localrules:
    prepare,


rule prepare:
    output:
        "data/prepared/{data}.safetensors",
    log:
        "logs/prepare/{data}.log",
    benchmark:
        "logs/prepare/{data}.tsv"
    conda:
        "../envs/slimming.yml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
        gpu=0,
    params:
        code=lambda wildcards: closure(
            "data", datasets.module(SIZES[wildcards.data].dataset)
        ),
        dataset=lambda wildcards: datasets.said(SIZES[wildcards.data].dataset),
        size=lambda wildcards: (
            f"--image-size {size}"
            if (size := SIZES[wildcards.data].image_size)
            and not SIZES[wildcards.data].source
            else ""
        ),
    message:
        "prepare {wildcards.data}"
    shell:
        "slimming prepare {params.dataset} {params.size} --root data --output {output} 2> {log}"
