"""`slimming <stage>`: one thin function a stage. Heavy imports wait until a stage runs, so that help is instant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from slimming import warm
from slimming.errors import InputError, SlimmingError

if TYPE_CHECKING:
    from slimming.study import Study


def prepare(options: argparse.Namespace) -> None:
    import json

    from slimming import data, datasets

    name = options.dataset
    if name.startswith("{"):
        settings = {key: value for key, value in json.loads(name).items() if key != "content"}
        name = settings.pop("name")
        datasets.add(name, settings)
    data.prepare(name, options.root, options.output, image_size=options.image_size)


def convert(options: argparse.Namespace) -> None:
    from slimming import conversion

    print(f"{conversion.convert(options.weights, options.output)} tensors")


def train(options: argparse.Namespace) -> None:
    from slimming import study
    from slimming.stages.train import share, train

    run = study.parse_run(options.run)
    if options.trained:
        _allow(run.architecture["name"])
        share(run, options.trained, options.checkpoints)
    else:
        train(run, options.data, options.checkpoints)


def _allow(name: str | None) -> None:
    """Let checkpoints of adopted networks be built by the function `name`."""
    if name:
        from slimming import networks

        networks.allow(name)


def prune(options: argparse.Namespace) -> None:
    from slimming.stages import table
    from slimming.stages.prune import prune

    variants = [name for name in table.VARIANTS if getattr(options, table.STAGES[name].key)]
    files = options.checkpoint, options.data, options.ratios, options.checkpoints
    prune(*files, variants, options.budget, options.round_to)


def finetune(options: argparse.Namespace) -> None:
    from slimming.stages.finetune import finetune

    finetune(options.checkpoint, options.data, options.epochs, options.checkpoints)


def scratch(options: argparse.Namespace) -> None:
    from slimming.stages.scratch import scratch

    scratch(options.checkpoint, options.data, options.budget, options.checkpoints)


def measure(options: argparse.Namespace) -> None:
    import json

    from slimming import checkpoints, data
    from slimming.stages.measure import figures, measure

    if options.records:
        measure(options.checkpoints, options.data, options.records)
        return
    for path in options.checkpoints:
        net, _ = checkpoints.load(path)
        print(json.dumps(figures(net, data.load(options.data), path), indent=1))


def export(options: argparse.Namespace) -> None:
    from slimming.stages import export

    figures = export.export(options.checkpoint, options.data, options.format, options.output)
    print("\n".join(export.lines(figures)))


def compress(options: argparse.Namespace) -> None:
    from slimming.compress import Asked, compress

    where = "npz" if options.data.endswith(".npz") else "folder" if Path(options.data).is_dir() else "name"
    images = {where: options.data} | ({"image_size": options.image_size} if options.image_size else {})
    network = {"build": options.network, "state_dict": options.state_dict}
    if options.coupled:
        network["selection"] = "coupled"
    method = {"name": options.method} | ({} if options.lam is None else {"lam": options.lam})
    asked = Asked(
        network={key: value for key, value in network.items() if value},
        images=images,
        method=method,
        budget=options.budget,
        ratio=options.ratio,
        epochs=options.epochs,
        finetuned=options.finetune,
        lr=options.lr,
        kind=options.format,
    )
    for line in compress(asked, options.output):
        print(line, flush=True)


def analyse(options: argparse.Namespace) -> None:
    from slimming.stages.analyse import analyse

    analyse(options.checkpoints, options.data, options.output, options.analyses)


def tabulate(options: argparse.Namespace) -> None:
    from slimming import analysed, study

    asked = study.load(options.study)
    analysed.write(_files(asked, options.analyses), asked.analyses, options.output)


def draw(options: argparse.Namespace) -> None:
    from slimming.reporting import analysed

    analysed.write(options.tables, options.output)


def forgo(options: argparse.Namespace) -> int:
    from slimming.stages.forgo import forgo

    return forgo(options.status, options.outputs, options.log)


def ledger(options: argparse.Namespace) -> None:
    from slimming import ledger, study

    asked = study.load(options.study)
    ledger.write(asked.name, _records(options), options.output, asked.allow_missing)


def findings(options: argparse.Namespace) -> None:
    from slimming import findings

    findings.write(_records(options), options.output)


def found(options: argparse.Namespace) -> None:
    from slimming.reporting import found

    found.write(options.findings, options.output)


def _records(options: argparse.Namespace) -> list[Path]:
    """The records of every network of a study."""
    from slimming import study

    return _files(study.load(options.study), options.records)


def _files(asked: Study, folder: Path) -> list[Path]:
    """<folder>/<run>/<checkpoint's stem>.json of every network of a study."""
    from slimming.stages import table

    stems = [table.stem(*step) for step in asked.steps()]
    return [folder / run.slug / f"{stem}.json" for run in asked.runs() for stem in stems]


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
        claims_files=options.claims,
        references_file=options.references,
    )


def claims(options: argparse.Namespace) -> None:
    from slimming.claims import evaluation

    evaluation.write(options.ledger, options.claims, options.output)


def page(options: argparse.Namespace) -> None:
    from slimming.reporting import page

    page.write(options.ledger, options.output, options.claims, options.reaffirmed, options.figures)


def compare(options: argparse.Namespace) -> None:
    from slimming.reporting import comparison

    print(comparison.text(options.first, options.second), end="")
    if options.output:
        comparison.write(options.first, options.second, options.output)


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


def reaffirm(options: argparse.Namespace) -> None:
    from slimming.store.reaffirm import reaffirm

    for line in reaffirm(options.study, options.sample, options.seed, options.changed, options.epochs):
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


def whole(text: str) -> int:
    """A whole number of at least 0."""
    return 0 if text == "0" else count(text)


def parser() -> Parser:
    """The command line, stage by stage in the order of the workflow."""
    top = Parser(
        prog="slimming",
        description="Channel pruning by network slimming: from data to paper, one stage a command.",
    )
    stages = top.add_subparsers(title="stages", required=True, metavar="STAGE")

    def stage(run: Callable[[argparse.Namespace], int | None], text: str) -> Parser:
        added = stages.add_parser(run.__name__, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(stage=run)
        return added

    def foreign(added: Parser) -> None:
        added.add_argument(
            "--build", metavar="FUNCTION", help="package.module:function or file.py:function of an adopted network"
        )

    def files(added: Parser) -> None:
        added.add_argument("--data", required=True, type=Path, metavar="FILE", help="prepared data set")
        added.add_argument("--checkpoints", required=True, type=Path, metavar="DIR", help="where checkpoints go")

    added = stage(prepare, "fetch a data set and write it as one memory-mapped tensor file")
    added.add_argument("dataset", help="its name; or images of your own as JSON: name, folder or npz, image_size")
    added.add_argument(
        "--root", type=Path, default=Path("data"), metavar="DIR", help="where the published files lie or go"
    )
    added.add_argument("--image-size", type=count, metavar="PIXELS", help="resize; default: as published")
    added.add_argument("--output", type=Path, required=True, metavar="FILE")

    added = stage(convert, "convert weights of your own from .pth to safetensors, running none of its code")
    added.add_argument("weights", type=Path, metavar="FILE")
    added.add_argument("--output", type=Path, required=True, metavar="FILE")

    added = stage(train, "train one run from scratch")
    added.add_argument("run", metavar="RUN", help='the run as JSON, as in a record\'s "run"')
    added.add_argument("trained", type=Path, nargs="?", help="another run's network, where both are trained alike")
    files(added)

    added = stage(prune, "prune a trained network at several ratios")
    added.add_argument("checkpoint", type=Path)
    added.add_argument("--ratios", type=float, nargs="+", required=True, metavar="RATIO")
    added.add_argument(
        "--budget", choices=("channels", "parameters", "macs"), help="what ratios are shares of; default: as the method"
    )
    added.add_argument("--round-to", type=count, default=1, metavar="N", help="widths stay multiples of N")
    added.add_argument("--compensate", action="store_true", help="and once more, with constants folded into biases")
    added.add_argument("--recalibrate", action="store_true", help="and once more, with new BatchNorm statistics")
    files(added)
    foreign(added)

    added = stage(finetune, "train a pruned network again, without penalty")
    added.add_argument("checkpoint", type=Path)
    added.add_argument("--epochs", type=count, metavar="N", help="default: as many as the training had")
    files(added)
    foreign(added)

    added = stage(scratch, "train a pruned network's shape from scratch, without penalty")
    added.add_argument("checkpoint", type=Path)
    added.add_argument(
        "--budget",
        required=True,
        choices=("epochs", "compute"),
        help="as many epochs as the training had, or as much compute, which allows more epochs",
    )
    files(added)
    foreign(added)

    added = stage(measure, "measure stored networks of a run")
    added.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    added.add_argument("--data", required=True, type=Path, metavar="FILE", help="prepared data set")
    added.add_argument("--records", type=Path, metavar="DIR", help="where records go; default: print figures as JSON")
    foreign(added)

    added = stage(export, "write a network as a file that runs without this package, and try it on the test images")
    added.add_argument("checkpoint", type=Path)
    added.add_argument("--format", choices=("pt2", "onnx"), default="pt2", help="torch.export's (default), or ONNX")
    added.add_argument("--data", required=True, type=Path, metavar="FILE", help="prepared data set")
    added.add_argument("--output", type=Path, metavar="FILE", help="default: beside the checkpoint")
    foreign(added)

    added = stage(
        compress, "compress one network, without a study: train, prune, recalibrate, fine-tune, export, report"
    )
    added.add_argument("network", metavar="NETWORK", help="vgg19, ...; package.module:function or file.py:function")
    added.add_argument("--data", required=True, metavar="DATA", help="digits, ...; a folder of images; an .npz file")
    added.add_argument("--image-size", type=count, metavar="PIXELS", help="of images of your own")
    added.add_argument("--state-dict", metavar="FILE", help="weights to start from, safetensors")
    added.add_argument("--method", default="l1", help="what scores channels (default: l1)")
    added.add_argument("--lam", type=float, help="the penalty's strength")
    added.add_argument("--coupled", action="store_true", help="BatchNorms that are added lose the same channels")
    added.add_argument("--budget", choices=("channels", "parameters", "macs"), default="macs")
    added.add_argument("--ratio", type=float, default=0.5, help="share of the budget to remove (default: 0.5)")
    added.add_argument("--epochs", type=whole, default=0, metavar="N", help="of training; 0: take weights as they are")
    added.add_argument("--finetune", type=whole, default=10, metavar="N", help="epochs after pruning (default: 10)")
    added.add_argument("--lr", type=float, default=0.01, help="first learning rate (default: 0.01)")
    added.add_argument("--format", choices=("pt2", "onnx"), default="pt2")
    added.add_argument("--output", type=Path, required=True, metavar="DIR")

    added = stage(analyse, "say what stored networks of a run do, beside how well")
    added.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help="the trained network first")
    added.add_argument("--analyses", nargs="+", required=True, metavar="NAME", help="ablation, xgrad-cam, ...")
    added.add_argument("--data", required=True, type=Path, metavar="FILE", help="prepared data set")
    added.add_argument("--output", required=True, type=Path, metavar="DIR", help="where what is found goes, as JSON")
    foreign(added)

    added = stage(forgo, "do without what a failed job should have made, where the study allows it")
    added.add_argument("status", type=int, metavar="STATUS", help="with which the job ended")
    added.add_argument("outputs", nargs="+", type=Path, metavar="FILE")
    added.add_argument("--log", required=True, type=Path, metavar="FILE", help="whose last line says why")

    for run, text, output in (
        (ledger, "collect the records of a study into its ledger", "DIR"),
        (findings, "collect what methods found out while they planned, from the records of a study", "FILE"),
    ):
        added = stage(run, text)
        added.add_argument("study", metavar="STUDY", help="the study's YAML file, or its JSON")
        added.add_argument("--records", required=True, type=Path, metavar="DIR", help="where its records lie")
        added.add_argument("--output", required=True, type=Path, metavar=output, help="where it goes")

    added = stage(found, "draw the figures of what methods found out")
    added.add_argument("findings", type=Path, metavar="FILE", help="what `slimming findings` wrote")
    added.add_argument("--output", required=True, type=Path, metavar="DIR")

    added = stage(tabulate, "collect what was found by the analyses of a study into tables")
    added.add_argument("study", metavar="STUDY", help="the study's YAML file, or its JSON")
    added.add_argument("--analyses", required=True, type=Path, metavar="DIR", help="where `slimming analyse` wrote")
    added.add_argument("--output", required=True, type=Path, metavar="DIR")

    added = stage(draw, "draw the figures of analyses")
    added.add_argument("tables", nargs="+", type=Path, metavar="FILE", help="what `slimming tabulate` wrote")
    added.add_argument("--output", required=True, type=Path, metavar="DIR")

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
            added.add_argument("--claims", nargs="+", required=True, type=Path, metavar="FILE", help="claims and rules")
            added.add_argument("--references", required=True, type=Path, metavar="FILE", help="published results")

    for run, text in (
        (claims, "judge the claims by a ledger, as a table of comparisons and verdicts"),
        (page, "write the verdicts, curves and every row of a ledger as one HTML file"),
    ):
        added = stage(run, text)
        added.add_argument("ledger", type=Path, metavar="DIR", help="folder of the ledger")
        added.add_argument(
            "--claims",
            nargs="+",
            required=run is claims,
            type=Path,
            metavar="FILE",
            help="claims in words, and their rules",
        )
        added.add_argument("--output", required=True, type=Path, metavar="FILE")
    added.add_argument("--reaffirmed", nargs="*", default=(), metavar="WORDS", help="what `slimming reaffirm` found")
    added.add_argument("--figures", nargs="*", default=(), type=Path, metavar="SVG", help="figures of analyses")

    added = stage(compare, "print the tables of two studies as differences with intervals")
    added.add_argument("first", metavar="STUDY", help="name of a study in results/, or folder of a ledger")
    added.add_argument("second", metavar="STUDY", help="the same; differences are this one minus the first")
    added.add_argument("--output", type=Path, metavar="FILE", help="also write every difference as CSV")

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

    added = stage(reaffirm, "compute a random sample of a study's stored jobs again with today's code, and compare")
    added.add_argument("study", type=Path, metavar="STUDY")
    added.add_argument("--sample", type=count, default=1, metavar="K", help="jobs of each stage, network and method")
    added.add_argument("--seed", type=int, default=0, metavar="S", help="of the sample (default: 0)")
    added.add_argument("--changed", action="store_true", help="only of the jobs that a change of code touches")
    added.add_argument("--epochs", type=count, metavar="N", help="only the first N epochs of trainings")

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
    """Run one stage. Exit status: 0, 1 for a failure, 2 for bad input, 130 when interrupted.

    As a program (without `arguments`) it has the stage run by a warm process, where one waits for that (slimming.warm).
    """
    if arguments is None and (status := warm.ask(sys.argv)) is not None:
        return status
    options = parser().parse_args(arguments)
    try:
        _allow(getattr(options, "build", None))
        status = options.stage(options) or 0
        sys.stdout.flush()
    except SlimmingError as error:
        print(f"slimming: error: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # the reader of our output has gone, as in `slimming ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # of the file system: an unreadable file, a place that cannot be written, a full disk
        if not error.filename:
            raise
        print(f"slimming: error: {error.filename}: {error.strerror}; choose another place or file", file=sys.stderr)
        return InputError.status
    except KeyboardInterrupt:
        print("slimming: interrupted; the same command continues where it stopped", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
