"""The report as one HTML file that needs nothing else: verdicts, interactive curves, and every row of the ledger.

Charts are Vega-Lite's and the table is DataTables'; both are in the file, which asks the network for nothing. What
stands where is in templates/page.html, how it looks in page.css, what moves in the scripts beside them. Not for
judging: verdicts are the claims package's.

The scripts draw no chart and sort no table themselves. They join what the libraries show: a point, a number and a
verdict lead to the record behind them, by mouse, key and address, which neither Altair nor itables can be told to do.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import itables.options
import jinja2
import pandas as pd
import vl_convert
from matplotlib.markers import MarkerStyle

from slimming import ledger, records, tensorfile
from slimming.claims import precedence, rules, statistics
from slimming.reporting import style, summary, tables, verdicts
from slimming.reporting.analysed import FIGURES as DRAWN
from slimming.reporting.analysed import summarise
from slimming.schema import KEY, RUN, TABLES, at
from slimming.stages.table import STAGES, stem

TITLES = {name: stage.words[0].upper() + stage.words[1:] for name, stage in STAGES.items()}
PANEL = ["dataset", "network", "method"]  # what settings.csv tells apart
LOG = ["epoch", "lr", "loss", "accuracy", "test_loss", "test_accuracy"]
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
# In terms of SVG: the share of a marker that is filled, by matplotlib's fill style, and codes of its paths.
FILLED = {"full": 1.0, "left": 0.5, "top": 0.5, "none": 0.0}
SEGMENTS = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
LINE = 1.6  # px


def write(
    ledger_dir: str | os.PathLike,
    output_file: str | os.PathLike,
    claims_files: rules.Files | None = None,
    reaffirmed: Sequence[str] = (),
    figures: Sequence[str | os.PathLike] = (),
) -> None:
    """Write the page of the ledger in `ledger_dir`; the same ledger gives the same bytes.

    The verdicts in claims.csv and the records in records/ of that folder are shown where they are there. For a record
    that is not, the page says so and gives the command that follows from the settings. The claims' words are those of
    `claims_files`, with what git says of the order in which they and the measurements came. `reaffirmed` are sentences:
    by what later code the numbers were found to be the same. Where the folder has the measures of analyses, these are
    shown with `figures`, SVG files that the page then holds. InputError for a faulty ledger, an unreadable claims.csv
    and a faulty `claims_files`.
    """
    ledger_dir, output_file = Path(ledger_dir), Path(output_file)
    measured, curves, settings, provenance = (
        ledger.read(ledger_dir / f"{name}.csv", name) for name in ("ledger", "curves", "settings", "provenance")
    )
    measured = measured.sort_values(KEY, key=_shown_order, kind="stable")
    (study,) = provenance.query("item == 'study'")["value"]
    shared = provenance[(provenance["records"] == len(measured)) & ~provenance["item"].isin(["study", "warning"])]
    made = dict(zip(shared["item"], shared["value"], strict=True))
    asked = {panel: dict(zip(part["setting"], part["value"], strict=True)) for panel, part in settings.groupby(PANEL)}
    rows = _rows(study, measured, curves, asked)
    choices = {column: sorted(measured[column].unique(), key=ORDER.get(column)) for column in KEY}
    looks = {slug: look(slug) for slug in choices["method"]}
    labels = {column: {slug: style.name(slug) for slug in choices[column]} for column in ("dataset", "network")}
    labels["method"] = {slug: looks[slug]["label"] for slug in looks}
    counted = summary.counted(measured)
    judged = verdicts.read(ledger_dir / "claims.csv", claims_files)
    text = _template().render(
        study=study,
        counted=counted,
        papers=rules.papers(claims_files) if claims_files else [],
        analysed=summarise(ledger_dir),
        figures=[*map(_figure, figures)],
        claims=judged,
        tally=verdicts.tally(judged or []),
        order=precedence.of(claims_files, ledger_dir) if claims_files and judged is not None else None,
        few=statistics.FEW,
        missing=ledger.told(ledger.missing(ledger_dir)),
        glyphs=verdicts.GLYPHS,
        choices=choices,
        labels=labels,
        looks=looks,
        stages=TITLES,
        counts={"measurements": len(measured), "trained networks": len(measured[RUN].drop_duplicates())},
        made=provenance.to_dict("records"),
        reaffirmed=reaffirmed,
        settings=tables.condense(settings).to_dict("records"),
        data={
            "rows": [row | evidence(ledger_dir, row, made, output_file.parent) for row in rows],
            "labels": labels,
            "counted": counted,
            "looks": looks,
            "stages": TITLES,
            "parents": {name: stage.parent for name, stage in STAGES.items() if stage.parent},
            "made": made,
            "settings": {"/".join(panel): values for panel, values in asked.items()},
        },
        vega=_vega(),
        datatables=Path(itables.options.dt_bundle).read_text(encoding="utf-8"),
    )
    tensorfile.write_text(output_file, text)


def evidence(ledger_dir: Path, row: Mapping, shared: Mapping, page_dir: Path) -> dict:
    """What the record of a row of the ledger says beyond the row; nothing where records/ does not hold that record.

    Of the provenance, `made` has what is not `shared` by all records. The path `href` is as seen from `page_dir`.
    """
    path = ledger_dir / "records" / _run(row) / f"{stem(row['stage'], row['ratio'])}.json"
    if not path.is_file():
        return {}
    record = records.read(path)
    if at(record, "checkpoint.sha256") != row["checkpoint_sha256"]:  # it was made again after the ledger
        return {}
    items = {entry["item"]: entry["value"] for entry in TABLES["provenance"].rows(record)}
    items["started"] = record["provenance"]["started"]
    return {
        "command": record["provenance"]["command"],
        "made": {item: value for item, value in items.items() if item not in {*shared, "study", "warning"}},
        "warnings": record["warnings"],
        "checkpoint": record["checkpoint"]["path"],
        "href": Path(os.path.relpath(path, page_dir)).as_posix(),
    }


def command(study: str, row: Mapping, settings: Mapping[str, str]) -> str:
    """The command lines that make a row of the ledger again, with files where the workflow has them.

    `settings` are the row's in settings.csv.
    """
    folder = PurePosixPath(row["record"]).parent.as_posix()
    own = f"records/{_run(row)}"
    checkpoints = folder.removesuffix(own) + f"checkpoints/{_run(row)}" if folder.endswith(own) else folder
    size = f"-{settings['image_size']}" if "image_size" in settings else ""
    stage = STAGES[row["stage"]]
    if not stage.parent:
        run = {"study": study, "method_slug": row["method"]} | {key: row[key] for key in ("dataset", "network", "seed")}
        asked = [json.dumps(_nested(settings) | run, sort_keys=True)]
    else:
        asked = [f"{checkpoints}/{stem(stage.parent, row['ratio'])}.safetensors", *stage.options]
        asked += {"prune": ["--ratios", f"{row['ratio']:g}"], "finetune": ["--epochs", str(row["epochs"])]}.get(
            stage.rule, []
        )
    data = ["--data", f"data/prepared/{row['dataset']}{size}.safetensors"]
    made = f"{checkpoints}/{stem(row['stage'], row['ratio'])}.safetensors"
    return " && ".join(
        [
            shlex.join(["slimming", stage.rule, *asked, *data, "--checkpoints", checkpoints]),
            shlex.join(["slimming", "measure", made, *data, "--records", folder]),
        ]
    )


def look(slug: str) -> dict:
    """A method's `label`, `colour`, `dash` (px), `symbol` (an SVG path) and the share of it that is `filled`."""
    line = style.line(slug)
    return {
        "label": _plain(style.method(slug)),
        "colour": line["color"],
        "dash": [round(LINE * length, 2) for length in line["linestyle"][1]],
        "symbol": symbol(line["marker"]),
        "filled": FILLED[line["fillstyle"]],
    }


def symbol(marker: str) -> str:
    """A marker of matplotlib as an SVG path about (0, 0), two units wide, y pointing down.

    >>> symbol("v")
    'M0 1L-1 -1L1 -1Z'
    """
    shape = MarkerStyle(marker)
    path = shape.get_path().transformed(shape.get_transform())
    parts = []
    for ends, code in path.iter_segments():
        numbers = [round(2 * end, 3) * sign + 0.0 for end, sign in zip(ends, [1, -1] * 3, strict=False)]
        parts.append(SEGMENTS[code] + " ".join(f"{number:g}" for number in numbers if SEGMENTS[code] != "Z"))
    return "".join(parts)


def _rows(study: str, measured: pd.DataFrame, curves: pd.DataFrame, asked: Mapping) -> Iterator[dict]:
    """The rows of the ledger with what its other tables say of them: the training's log, and the command."""
    logs = {key: {column: _short(part[column]) for column in LOG} for key, part in curves.groupby(KEY)}
    for row in measured.astype(object).where(measured.notna(), None).to_dict("records"):
        settings = asked.get(tuple(row[column] for column in PANEL), {})
        log = logs.get(tuple(row[column] for column in KEY))
        # As text, for a number of JavaScript does not hold all digits of a seed.
        yield row | {"seed": str(row["seed"]), "log": log, "command": command(study, row, settings)}


def _figure(path: str | os.PathLike) -> dict:
    """An SVG file as a data URI, and what it shows: the first line of what draws it."""
    path = Path(path)
    name = next(name for name in DRAWN if path.stem.startswith(f"{name}-"))
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return {"data": f"data:image/svg+xml;base64,{data}", "words": DRAWN[name].__doc__.splitlines()[0]}


ORDER = {"method": style.order, "stage": [*STAGES].index}


def _shown_order(column: pd.Series) -> pd.Series:
    return column.map(ORDER[column.name]) if column.name in ORDER else column


def _run(row: Mapping) -> str:
    return f"{row['dataset']}/{row['network']}/{row['method']}/seed{row['seed']}"


def _short(values: pd.Series) -> list[float | None]:
    """Four digits are enough for a log to be read; None for an epoch without a test."""
    return [None if pd.isna(value) else float(f"{value:.4g}") for value in values]


def _nested(settings: Mapping[str, str]) -> dict:
    """{"schedule.lr": "0.1"} as {"schedule": {"lr": 0.1}}."""
    tree: dict = {}
    for setting, text in settings.items():
        *outer, inner = setting.split(".")
        branch = tree
        for key in outer:
            branch = branch.setdefault(key, {})
        try:
            branch[inner] = json.loads(text)
        except ValueError:  # words stand in settings.csv without quotes
            branch[inner] = text
    return tree


def _plain(label: str) -> str:
    r"""A label of style as mere text: `$\ell_{0.5}$` is ℓ₀.₅."""
    label = label.replace(r"\ell", "ℓ").replace("$", "")
    return re.sub(r"_\{?([\d.]+)\}?", lambda found: found[1].translate(SUBSCRIPTS), label)


@functools.cache
def _vega() -> str:
    return vl_convert.javascript_bundle()


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("slimming.reporting"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}  # stages have an order
    return environment.get_template("page.html")
