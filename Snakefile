# From data to paper: `snakemake --cores all` makes everything of the study in config/quick.yaml,
# `snakemake --cores all --configfile config/paper.yaml` everything of another one.
from snakemake.utils import min_version

min_version("9.27")


if "name" not in config:

    configfile: f"{workflow.basedir}/config/quick.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/prune.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/findings.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/store.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        # Named one by one, so that missing records are made even where a ledger stands.
        rules.records.input,
        rules.ledger.output,
        rules.tables.output,
        rules.metrics.output,
        rules.figures.output,
        [rules.findings.output, rules.found.output] if STUDY.finds() else [],
        [rules.tabulate.output, rules.draw.output] if STUDY.analyses else [],
        rules.claims.output,
        rules.page.output,
        rules.macros.output,
        rules.paper.output if LATEXMK else [],


onstart:
    # A batch system's limits are for the command that it started, not for one that another process runs for it.
    if workflow.local_exec:
        WARM = warm.start(STUDY.threads)


onsuccess:
    forget_states()
    provenance.export(JOBS, PRODUCTS)
    if os.path.exists(PAPER):
        # Where readers look for it; each study keeps its own.
        tensorfile.write_aside("paper/paper.pdf", partial(shutil.copy, PAPER))
    say_what_came_out()
