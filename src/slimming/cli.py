"""`slimming <stage>`: one thin function a stage. Heavy imports wait until a stage runs, so that help is instant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from slimming.errors import SlimmingError


def prepare(options: argparse.Namespace) -> None:
    from slimming import data

    data.prepare(options.dataset, options.root, options.output, image_size=options.image_size)


def train(options: argparse.Namespace) -> None:
    from slimming import study
    from slimming.stages.train import train

    train(study.parse_run(options.run), options.data, (options.checkpoints, options.records))


def prune(options: argparse.Namespace) -> None:
    from slimming import records
    from slimming.stages.prune import prune

    folders = options.checkpoints, options.records
    variants = [stage for stage, key in records.VARIANTS.items() if getattr(options, key)]
    prune(options.checkpoint, options.data, options.ratios, folders, variants)


def finetune(options: argparse.Namespace) -> None:
    from slimming.stages.finetune import finetune

    finetune(options.checkpoint, options.data, options.epochs, (options.checkpoints, options.records))


def scratch(options: argparse.Namespace) -> None:
    from slimming.stages.scratch import scratch

    scratch(options.checkpoint, options.data, options.budget, (options.checkpoints, options.records))


def measure(options: argparse.Namespace) -> None:
    import json

    from slimming import checkpoints, data
    from slimming.measure import measure

    net, _ = checkpoints.load(options.checkpoint)
    print(json.dumps(measure(net, data.load(options.data), options.checkpoint), indent=1))


def ledger(options: argparse.Namespace) -> None:
    from slimming import ledger, records, study

    asked = study.load(options.study)
    stems = [records.stem(*step) for step in asked.steps()]
    paths = [options.records / run.slug / f"{stem}.json" for run in asked.runs() for stem in stems]
    ledger.write(asked.name, paths, options.output)


def plan(options: argparse.Namespace) -> None:
    from slimming import costs, planning, study

    asked = study.load(options.study)
    folders = options.records or [Path("results", asked.name, "records")]
    known = planning.speeds(sorted(path for folder in folders for path in folder.rglob("trained.json")))
    spent = planning.used(asked, Path("results", asked.name), Path("logs", asked.name))
    profile = planning.profile(options.profile)
    print(planning.report(asked, profile, [*known, *costs.shipped()], spent, options.price))


def tables(options: argparse.Namespace) -> None:
    from slimming.reporting import tables

    tables.write(options.ledger, options.output, options.protocol)


def figures(options: argparse.Namespace) -> None:
    from slimming.reporting import figures

    figures.write(options.ledger, options.output)


def macros(options: argparse.Namespace) -> None:
    from slimming.reporting import macros

    macros.write(
        options.ledger,
        options.output,
        options.protocol,
        claims_file=options.claims,
        references_file=options.references,
    )


def claims(options: argparse.Namespace) -> None:
    from slimming.claims import evaluation

    evaluation.write(options.ledger, options.claims, options.output)


def page(options: argparse.Namespace) -> None:
    from slimming.reporting import page

    page.write(options.ledger, options.output, options.claims)


def compare(options: argparse.Namespace) -> None:
    from slimming.reporting import comparison

    print(comparison.text(options.first, options.second), end="")
    if options.output:
        comparison.write(options.first, options.second, options.output)


def bench(options: argparse.Namespace) -> None:
    from slimming.bench import report
    from slimming.study import Machine

    machine = Machine(threads=options.threads, device=options.device, precision=options.precision)
    report.bench(options.parts or report.PARTS, machine, options.output, options.small)


def metrics(options: argparse.Namespace) -> None:
    from slimming.reporting import metrics

    metrics.write(options.ledger, options.output)


def status(options: argparse.Namespace) -> None:
    from slimming.store import status

    print(status.show(options.study))


def trace(options: argparse.Namespace) -> None:
    from slimming.store import trace

    print(trace.trace(options.number))


def verify(options: argparse.Namespace) -> None:
    from slimming.store import verify

    for line in verify.report(verify.verify(options.study)):
        print(line, flush=True)


def crate(options: argparse.Namespace) -> None:
    from slimming import study
    from slimming.store import crate

    crate.write(study.load(options.study), options.products)


def merge(options: argparse.Namespace) -> None:
    from slimming.store import merge

    merge.merge(options.base, options.ours, options.theirs, options.path)


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, like everything else."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"slimming: error: {message}; see {self.prog} --help\n")


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def parser() -> Parser:
    """The command line, stage by stage in the order of the workflow."""
    top = Parser(
        prog="slimming",
        description="Channel pruning by network slimming: from data to paper, one stage a command.",
    )
    stages = top.add_subparsers(title="stages", required=True, metavar="STAGE")

    def stage(run: Callable[[argparse.Namespace], None], text: str) -> Parser:
        added = stages.add_parser(run.__name__, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(stage=run)
        return added

    def files(added: Parser) -> None:
        added.add_argument("--data", required=True, type=Path, metavar="FILE", help="prepared data set")
        added.add_argument("--checkpoints", required=True, type=Path, metavar="DIR", help="where checkpoints go")
        added.add_argument("--records", required=True, type=Path, metavar="DIR", help="where records go")

    added = stage(prepare, "fetch a data set and write it as one memory-mapped tensor file")
    added.add_argument("dataset")
    added.add_argument(
        "--root", type=Path, default=Path("data"), metavar="DIR", help="where the published files lie or go"
    )
    added.add_argument("--image-size", type=count, metavar="PIXELS", help="resize; default: as published")
    added.add_argument("--output", type=Path, required=True, metavar="FILE")

    added = stage(train, "train one run from scratch")
    added.add_argument("run", metavar="RUN", help='the run as JSON, as in a record\'s "run"')
    files(added)

    added = stage(prune, "prune a trained network at several ratios")
    added.add_argument("checkpoint", type=Path)
    added.add_argument("--ratios", type=float, nargs="+", required=True, metavar="RATIO")
    added.add_argument("--compensate", action="store_true", help="and once more, with constants folded into biases")
    added.add_argument("--recalibrate", action="store_true", help="and once more, with new BatchNorm statistics")
    files(added)

    added = stage(finetune, "train a pruned network again, without penalty")
    added.add_argument("checkpoint", type=Path)
    added.add_argument("--epochs", type=count, metavar="N", help="default: as many as the training had")
    files(added)

    added = stage(scratch, "train a pruned network's shape from scratch, without penalty")
    added.add_argument("checkpoint", type=Path)
    added.add_argument(
        "--budget",
        required=True,
        choices=("epochs", "compute"),
        help="as many epochs as the training had, or as much compute, which allows more epochs",
    )
    files(added)

    added = stage(measure, "measure a stored network and print the figures as JSON")
    added.add_argument("checkpoint", type=Path)
    added.add_argument("--data", required=True, type=Path, metavar="FILE", help="prepared data set")

    added = stage(ledger, "collect the records of a study into its ledger")
    added.add_argument("study", metavar="STUDY", help="the study's YAML file, or its JSON")
    added.add_argument("--records", required=True, type=Path, metavar="DIR", help="where its records lie")
    added.add_argument("--output", required=True, type=Path, metavar="DIR", help="where the ledger goes")

    for run, text in (
        (tables, "write the tables of a ledger, as CSV and LaTeX"),
        (figures, "draw the figures of a ledger, as SVG, PDF and PNG"),
        (macros, "write every number of the paper as a LaTeX macro, with its source"),
        (metrics, "write mean accuracies as JSON files, for `dvc metrics`"),
    ):
        added = stage(run, text)
        added.add_argument("ledger", type=Path, metavar="DIR", help="folder of the ledger")
        added.add_argument("--output", required=True, type=Path, metavar="DIR")
        if run in (tables, macros):
            added.add_argument(
                "--protocol",
                choices=("last", "paper"),
                default="last",
                help="accuracy after the last epoch (default), or as in the paper after the best on the test set",
            )
        if run is macros:
            added.add_argument("--claims", required=True, type=Path, metavar="FILE", help="claims and rules")
            added.add_argument("--references", required=True, type=Path, metavar="FILE", help="published results")

    for run, text in (
        (claims, "judge the claims by a ledger, as a table of comparisons and verdicts"),
        (page, "write the verdicts, curves and every row of a ledger as one HTML file"),
    ):
        added = stage(run, text)
        added.add_argument("ledger", type=Path, metavar="DIR", help="folder of the ledger")
        added.add_argument(
            "--claims", required=run is claims, type=Path, metavar="FILE", help="claims in words, and their rules"
        )
        added.add_argument("--output", required=True, type=Path, metavar="FILE")

    added = stage(compare, "print the tables of two studies as differences with intervals")
    added.add_argument("first", metavar="STUDY", help="name of a study in results/, or folder of a ledger")
    added.add_argument("second", metavar="STUDY", help="the same; differences are this one minus the first")
    added.add_argument("--output", type=Path, metavar="FILE", help="also write every difference as CSV")

    added = stage(bench, "measure speed and memory beside a conventional training loop")
    added.add_argument("parts", nargs="*", metavar="PART", help="of speed, startup, planning, study; default: all")
    added.add_argument("--threads", type=count, default=os.cpu_count(), metavar="N", help="default: all cores")
    added.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    added.add_argument("--precision", choices=("fp32", "bf16"), default="bf16", help="of the engine (default: bf16)")
    added.add_argument("--small", action="store_true", help="only to see that it runs")
    added.add_argument("--output", type=Path, metavar="FILE", help="write JSON with the machine's description")

    added = stage(plan, "count a study's jobs, hours and storage, and what it has used of them")
    added.add_argument("study", metavar="STUDY", help="the study's YAML file, or its JSON")
    added.add_argument(
        "--profile", type=Path, default=Path("profiles/default"), metavar="DIR", help="Snakemake profile"
    )
    added.add_argument(
        "--records", type=Path, nargs="+", metavar="DIR", help="whose speeds count first; default: the study's own"
    )
    added.add_argument("--price", type=float, metavar="P", help="of a GPU-hour, in any currency")

    for run, text in (
        (status, "say what of a study is done, stale or missing, why, and what running it would cost"),
        (verify, "make tables, figures and paper again from the ledger, measure all networks again, and compare"),
    ):
        added = stage(run, text)
        added.add_argument("study", type=Path, nargs="?", default=Path("config/quick.yaml"), metavar="STUDY")

    added = stage(crate, "describe a study for archives: codecheck.yml and ro-crate-metadata.json")
    added.add_argument("study", metavar="STUDY", help="the study's YAML file, or its JSON")
    added.add_argument("products", nargs="+", metavar="FILE", help="what to describe")

    added = stage(merge, "merge two versions of a ledger's file by row, as git's merge driver")
    for name in ("base", "ours", "theirs", "path"):
        added.add_argument(name, type=Path, metavar=name.upper())

    added = stage(trace, "say which runs, records, networks and commit a printed number comes from")
    added.add_argument("number", metavar="NUMBER", help="a macro of the paper, or FILE:LINE of a table or the ledger")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage. Exit status: 0, 1 for a failure, 2 for bad input, 130 when interrupted."""
    options = parser().parse_args(arguments)
    try:
        options.stage(options)
        sys.stdout.flush()
    except SlimmingError as error:
        print(f"slimming: error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("slimming: interrupted; the same command continues where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `slimming ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
