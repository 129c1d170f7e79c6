"""How methods, networks and data sets are named and drawn: the same everywhere, whatever else a study holds.

Every function depends on a name alone, so that a method keeps its colour, marker and place in all figures.
Labels are valid both as LaTeX and as matplotlib text. Not for choosing what is drawn.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple


class Family(NamedTuple):
    """Methods that share a formula. `label` takes the parameter; colours are Okabe and Ito's, and Paul Tol's muted."""

    label: str
    colour: str
    marker: str


FAMILIES = {
    "none": Family("no penalty", "#4d4d4d", "o"),
    "l1": Family(r"$\ell_1$", "#0072b2", "s"),
    "lp": Family(r"$\ell_{{{}}}$", "#d55e00", "^"),
    "tl1": Family(r"T$\ell_1$ ($a={}$)", "#009e73", "D"),
    "mcp": Family(r"MCP ($a={}$)", "#e69f00", "v"),
    "scad": Family(r"SCAD ($a={}$)", "#cc79a7", "P"),
    "vcp": Family("VCP", "#882255", "X"),
    "swd": Family("SWD ({})", "#56b4e9", "h"),
    "swd-parameters": Family("SWD of parameters ({})", "#661100", "<"),
    "swd-weights": Family("SWD of weights ({})", "#332288", "p"),
    "random": Family("random", "#999933", "d"),
}
PROXIMAL = "proximal-"  # a penalty's other training: its colour and marker, and dashes of its own
# For methods that are not in the table, of which variants ("dcp-loss" of "dcp") share a colour; Paul Tol's muted
# palette, where it differs from those above. The salt tells apart the methods that stand in this project's studies.
SALT = 14884
OTHER_COLOURS = ("#88ccee", "#44aa99", "#aa4499", "#cc6677", "#ddcc77", "#117733")
OTHER_MARKERS = (">", "8", "*", "H")
# A family's methods share its colour and marker; the parameter chooses among these dashes and fillings.
SOLID, DASHED, DOTTED, BROKEN = (0, ()), (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1))
TWICE_BROKEN = (0, (3, 1, 1, 1, 1, 1))
MANNERS = (
    (SOLID, "full"),
    (DASHED, "none"),
    (DOTTED, "left"),
    (SOLID, "none"),
    (DASHED, "full"),
    (DOTTED, "none"),
    (SOLID, "left"),
    (SOLID, "top"),
    (BROKEN, "full"),
)
KNOWN = {"lp": ("0.5", "0.75"), "tl1": ("1", "0.5", "10")} | dict.fromkeys(
    ("mcp", "scad"), ("5000", "10000", "15000", "50000", "100000", "150000", "200", "1000", "500")
)

SYMBOLS = {"lam": r"$\lambda$"}  # of parameters
PROPER = {
    "vgg": "VGG",
    "densenet": "DenseNet",
    "resnet": "ResNet",
    "basicresnet": "BasicResNet",
    "cifar": "CIFAR",
    "svhn": "SVHN",
}

GREY = "#595959"
MATPLOTLIB = {
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.labelcolor": "black",
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.2,
    "lines.markeredgewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 7.2,
    "legend.handlelength": 2.2,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.w_pad": 0.04,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
    "svg.hashsalt": "slimming",
}


def _split(slug: str) -> tuple[str, str]:
    """("lp", "0.5") of "lp-0.5"; the parameter is "" where there is none."""
    family, parameter = re.fullmatch(r"(.*?)(?:-(\d+(?:\.\d+)?))?", slug).groups()
    return family, parameter or ""


def _listed(slug: str) -> tuple[str, str, str] | None:
    """("l1", "lam", "0.01") of "l1-lam0.01", one of several values that a study lists; None for any other slug.

    A method that is not in the table is not taken apart.
    """
    match = re.fullmatch(r"(.+)-([a-z_]+)(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", slug)
    return match.groups() if match and method(match[1]) != match[1] else None


def method(slug: str) -> str:
    """The label of a method; its slug where the family is not in the table."""
    if listed := _listed(slug):
        base, parameter, value = listed
        return f"{method(base)}, {SYMBOLS.get(parameter, parameter)} = {value}"
    if slug.startswith(PROXIMAL):
        return f"proximal {method(slug.removeprefix(PROXIMAL))}"
    family, parameter = _split(slug)
    if family not in FAMILIES or (("{}" in FAMILIES[family].label) != bool(parameter)):
        return slug
    return FAMILIES[family].label.format(parameter)


def order(slug: str) -> tuple:
    """Sorting key of methods: families in the order of the table, others by name; parameters ascending."""
    if listed := _listed(slug):
        base, parameter, value = listed
        return *order(base), parameter, float(value)
    family, parameter = _split(slug.removeprefix(PROXIMAL))
    place = list(FAMILIES).index(family) if family in FAMILIES else len(FAMILIES)
    return place, family, slug.startswith(PROXIMAL), float(parameter or 0), slug


def line(slug: str) -> dict:
    """Keyword arguments for a method's line in matplotlib: colour, dashes and marker."""
    if listed := _listed(slug):
        base, _, value = listed
        dashes, filling = MANNERS[zlib.crc32(value.encode()) % len(MANNERS)]
        return line(base) | {"linestyle": dashes, "fillstyle": filling}
    if slug.startswith(PROXIMAL):
        return line(slug.removeprefix(PROXIMAL)) | {"linestyle": TWICE_BROKEN}
    family, parameter = _split(slug)
    if family not in FAMILIES:
        family, _, parameter = slug.partition("-")
    digest = _digest(family)
    other = Family(slug, OTHER_COLOURS[digest % len(OTHER_COLOURS)], OTHER_MARKERS[digest // 64 % len(OTHER_MARKERS)])
    _, colour, marker = FAMILIES.get(family, other)
    known = KNOWN.get(family, ("",))
    place = known.index(parameter) if parameter in known else _digest(parameter) % len(MANNERS)
    dashes, filling = MANNERS[place]
    return {
        "color": colour,
        "linestyle": dashes,
        "marker": marker,
        "fillstyle": filling,
        "markerfacecoloralt": "white",
    }


def _digest(text: str) -> int:
    return zlib.crc32(text.encode(), SALT)


def name(slug: str) -> str:
    """The usual spelling of a network or data set: "ResNet-164", "CIFAR-10"; else its slug."""
    match = re.fullmatch(r"([a-z]+)(\d*)", slug)
    if not match or match[1] not in PROPER:
        return slug
    return "-".join(filter(None, (PROPER[match[1]], match[2])))
