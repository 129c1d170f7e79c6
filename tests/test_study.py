"""A study becomes the runs that its file says, or one line that names the file and the key."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slimming import study
from slimming.errors import InputError
from slimming.settings import Schedule
from slimming.stages.table import STAGES

CONFIGS = [path for path in sorted((Path(__file__).parents[1] / "config").glob("*.yaml")) if path.stem != "claims"]

TEXT = """
name: tiny
datasets:
  digits:
  cifar10: {image_size: 16, schedule: {epochs: 9}}
networks:
  vgg11: {width: 0.25, schedule: {lr: 5e-2}}
  thin: {build: densenet13, growth: 4}
lam: {vgg11: 1e-3, thin: 2e-3}
methods:
  - none
  - l1
  - {name: lp, p: 0.5}
  - {name: lp, p: 0.75, lam: 1e-5}
  - {name: tl1, a: 1}
  - {name: mcp, a: 200, lam: {vgg11: 5e-3, thin: 6e-3}}
  - {name: scad, a: 1e3, label: scad-long}
seeds: [3, 1]
ratios: [0.5, 0, 0.25]
finetune: {ratios: [0.25], epochs: 2}
schedule: {epochs: 4, weight_decay: 1e-4}
threads: 2
precision: bf16
"""
MACHINE = {"threads": 2, "device": "cpu", "precision": "bf16", "compile": False}
PLAIN = {"methods": ["none"], "lam": 1}  # nothing that names the networks


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TEXT)
    return study.load(tmp_path / "tiny.yaml")


def changed(**keys):
    """The content of TEXT with some keys of the top level replaced; without those that are None."""
    content = yaml.safe_load(TEXT) | keys
    return {key: value for key, value in content.items() if value is not None}


def refusal(content):
    """The one line that refuses the study `content`, read from file.yaml."""
    with pytest.raises(InputError) as caught:
        study.parse(content, "file.yaml")
    assert "\n" not in str(caught.value)
    assert caught.value.status == 2
    origin, _, message = str(caught.value).partition("file.yaml: ")
    assert origin == ""
    return message


def test_the_grid_is_expanded_in_the_order_of_the_file(tiny):
    slugs = ["none", "l1", "lp-0.5", "lp-0.75", "tl1-1", "mcp-200", "scad-long"]
    assert [run.slug for run in tiny.runs()] == [
        f"{dataset}/{network}/{method}/seed{seed}"
        for dataset in ("digits", "cifar10")
        for network in ("vgg11", "thin")
        for method in slugs
        for seed in (3, 1)
    ]


@pytest.mark.parametrize(
    ("method", "slugs"),
    [
        ({"name": "l1", "lam": ["1e-4", 1e-3]}, ["l1-lam0.0001", "l1-lam0.001"]),
        ({"name": "l1", "lam": [0.5, 2], "label": "strong"}, ["strong-lam0.5", "strong-lam2"]),
        ({"name": "mcp", "a": [100, 200]}, ["mcp-100", "mcp-200"]),
        (
            {"name": "mcp", "a": [100, 200], "lam": [1, 2]},
            ["mcp-100-lam1", "mcp-100-lam2", "mcp-200-lam1", "mcp-200-lam2"],
        ),
    ],
)
def test_a_listed_parameter_is_a_method_for_each_value(method, slugs):
    runs = study.parse(
        changed(methods=[method], lam=1, networks={"vgg11": None}, datasets={"digits": None}), "x"
    ).runs()
    assert list(dict.fromkeys(run.method_slug for run in runs)) == slugs
    listed = [key for key, value in method.items() if isinstance(value, list)]
    values = itertools.product(*([float(item) for item in method[key]] for key in listed))
    for slug, value in zip(slugs, values, strict=True):
        assert {tuple(run.method[key] for key in listed) for run in runs if run.method_slug == slug} == {value}


def test_a_method_may_have_its_own_seeds():
    runs = study.parse(
        changed(
            methods=["none", {"name": "l1", "seeds": [7, 5]}],
            seeds=[3],
            lam=1,
            networks={"vgg11": None},
            datasets={"digits": None},
        ),
        "x",
    ).runs()
    assert [(run.method_slug, run.seed) for run in runs] == [("none", 3), ("l1", 7), ("l1", 5)]
    assert all("seeds" not in run.method for run in runs)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"name": "l1", "lam": []}, "methods: lam of l1 is an empty list"),
        ({"name": "l1", "lam": [1, 1]}, "methods: two share the slug of digits/vgg11/l1-lam1/seed1"),
        ({"name": "l1", "seeds": []}, "methods: seeds of l1 are a list of whole numbers from 0, not []"),
        ({"name": "l1", "seeds": 3}, "methods: seeds of l1 are a list of whole numbers from 0, not 3"),
        ({"name": "l1", "seeds": [1.5]}, "methods: seeds of l1 are a list of whole numbers from 0, not [1.5]"),
        ({"name": "l1", "seeds": [2, 2]}, "seeds of l1 holds 2 twice"),
    ],
)
def test_lists_that_are_none_are_refused(method, message):
    assert refusal(
        changed(methods=[method], seeds=[1], lam=1, networks={"vgg11": None}, datasets={"digits": None})
    ).startswith(message)


@pytest.mark.parametrize(
    ("names", "shared"),
    [
        (["none", "l1"], {}),
        (["random"], {}),
        (["l1", "none", "random"], {"random": "none"}),
        (["random", "none"], {"random": "none"}),
    ],
)
def test_runs_that_would_train_the_same_network_share_that_of_the_one_which_is_named_so(names, shared):
    asked = study.parse(
        changed(methods=names, seeds=[3, 1], networks={"vgg11": None}, datasets={"digits": None}, lam=1e-4), "x"
    )
    cells = [f"digits/vgg11/{{}}/seed{seed}" for seed in (3, 1)]
    found = {slug: other.slug for slug, other in asked.shared().items()}
    assert found == {cell.format(ours): cell.format(theirs) for cell in cells for ours, theirs in shared.items()}


def test_every_checkpoint_of_a_run_is_listed(tiny):
    assert tiny.steps() == [("trained", 0), ("pruned", 0.5), ("pruned", 0), ("pruned", 0.25), ("finetuned", 0.25)]


def test_variants_are_made_where_the_study_asks_for_them():
    asked = study.parse(changed(compensate=True, recalibrate=True, scratch={"ratios": [0.5, 0.25]}), "x")
    assert asked.steps() == [
        ("trained", 0), ("pruned", 0.5), ("pruned", 0), ("pruned", 0.25),
        ("compensated", 0.5), ("compensated", 0), ("compensated", 0.25),
        ("recalibrated", 0.5), ("recalibrated", 0), ("recalibrated", 0.25), ("finetuned", 0.25),
        ("scratch", 0.5), ("scratch", 0.25), ("scratch-compute", 0.5), ("scratch-compute", 0.25),
    ]  # fmt: skip
    assert study.load(asked.settings()) == asked
    stages = [stage for stage, _ in asked.steps()]
    assert tuple(dict.fromkeys(stages)) == tuple(STAGES)


def test_a_run_holds_all_that_decides_its_bits(tiny):
    first, *_, last = tiny.runs()
    assert first.model_dump(exclude={"schedule"}) == {
        "study": "tiny", "dataset": "digits", "image_size": None, "network": "vgg11", "method": {"name": "none"},
        "architecture": {"name": "vgg11", "width": 0.25}, "method_slug": "none", "seed": 3, **MACHINE,
    }  # fmt: skip
    assert last.model_dump(exclude={"schedule"}) == {
        "study": "tiny", "dataset": "cifar10", "image_size": 16, "network": "thin",
        "method": {"name": "scad", "a": 1000.0, "lam": 0.002},
        "architecture": {"name": "densenet13", "width": 1.0, "growth": 4},
        "method_slug": "scad-long", "seed": 1, **MACHINE,
    }  # fmt: skip


def test_data_sets_and_networks_may_change_the_schedule(tiny):
    schedules = {(run.dataset, run.network): run.schedule for run in tiny.runs()}
    assert {key: (schedule.epochs, schedule.lr) for key, schedule in schedules.items()} == {
        ("digits", "vgg11"): (4, 0.05),
        ("digits", "thin"): (4, 0.1),
        ("cifar10", "vgg11"): (9, 0.05),
        ("cifar10", "thin"): (9, 0.1),
    }
    assert schedules["digits", "thin"] == Schedule(epochs=4)


def test_strength_is_the_methods_own_or_the_studys_by_network(tiny):
    found = {(run.network, run.method_slug): run.method.get("lam") for run in tiny.runs()}
    assert found["vgg11", "none"] is None
    assert (found["vgg11", "l1"], found["thin", "l1"]) == (1e-3, 2e-3)
    assert (found["vgg11", "lp-0.75"], found["thin", "lp-0.75"]) == (1e-5, 1e-5)
    assert (found["vgg11", "mcp-200"], found["thin", "mcp-200"]) == (5e-3, 6e-3)


@pytest.mark.parametrize(("given", "meant"), [({}, 1e-4), ({"lam": 0.01}, 0.01), ({"lam": "1e-5"}, 1e-5)])
def test_one_strength_counts_for_every_network(given, meant):
    content = changed(lam=None, methods=["l1"]) | given
    assert {run.method["lam"] for run in study.parse(content, "x").runs()} == {meant}


def test_numbers_that_yaml_reads_as_text_are_numbers(tiny):
    assert yaml.safe_load("1e-4") == "1e-4"
    assert tiny.schedule.weight_decay == 1e-4
    assert {run.method["a"] for run in tiny.runs() if run.method["name"] == "scad"} == {1000.0}
    assert all(isinstance(run.method.get("lam", 0.0), float) for run in tiny.runs())


def test_defaults_are_the_papers():
    schedule = Schedule()
    assert schedule.model_dump() == {
        "epochs": 160, "batch_size": 64, "lr": 0.1, "milestones": (0.5, 0.75), "lr_decay": 0.1, "momentum": 0.9,
        "weight_decay": 1e-4,
    }  # fmt: skip


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_studies_that_ship_are_valid(path):
    if "name" not in yaml.safe_load(path.read_text()):
        pytest.skip("not a study")
    assert study.load(path).runs()


def test_json_says_the_same_as_yaml(tiny):
    text = tiny.settings()
    assert "\n" not in text
    assert study.load(text) == tiny
    assert study.load(text).settings() == text
    by_slug = {run.slug: run for run in tiny.runs()}
    assert {run.slug: run for run in study.load(text).runs()} == by_slug


def test_a_run_comes_back_from_its_settings(tiny):
    for run in tiny.runs():
        assert "\n" not in run.settings()
        assert study.parse_run(run.settings()) == run
        assert study.parse_run(run.settings()).settings() == run.settings()


@given(
    seed=st.integers(0, 2**63 - 1),
    lr=st.floats(1e-9, 1e9),
    milestones=st.lists(st.floats(0.001, 0.999), max_size=3),
    p=st.floats(0.001, 0.999),
    lam=st.floats(0, 10),
)
def test_settings_keep_every_digit(seed, lr, milestones, p, lam):
    method = {"name": "lp", "p": p, "lam": lam}
    content = changed(
        methods=[method], seeds=[seed], schedule={"lr": lr, "milestones": milestones}, networks={"vgg11": {}}, lam=1
    )
    (run, _) = study.parse(content, "x").runs()
    again = study.parse_run(run.settings())
    assert again == run
    assert again.method == method
    assert again.schedule.lr == lr
    assert again.seed == seed


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"methods": ["l11"]}, "unknown method 'l11': did you mean 'l1'?"),
        ({"methods": [{"name": "tl1", "lamda": 1}]}, "unknown parameter of tl1 'lamda': did you mean 'lam'?"),
        ({"networks": {"vgg18": {}}, **PLAIN}, "unknown network 'vgg18': vgg has no depth 18; did you mean vgg16 or"),
        ({"networks": {"thin": {"build": "vgg1"}}, **PLAIN}, "unknown network 'vgg1': vgg has no depth 1; did you"),
        ({"networks": {"vg19": {}}, **PLAIN}, "unknown network 'vg19': did you mean 'vgg19'?"),
        ({"datasets": {"digit": {}}}, "unknown data set 'digit': did you mean 'digits'?"),
        ({"ratio": [0.5]}, "unknown key 'ratio': did you mean 'ratios'?"),
        ({"schedule": {"epoch": 3}}, "schedule.epoch: unknown key 'epoch': did you mean 'epochs'?"),
        ({"finetune": {"ratio": [0.5]}}, "finetune.ratio: unknown key 'ratio': did you mean 'ratios'?"),
        ({"scratch": {"ratio": [0.5]}}, "scratch.ratio: unknown key 'ratio': did you mean 'ratios'?"),
        ({"compensated": True}, "unknown key 'compensated': did you mean 'compensate'?"),
        ({"datasets": {"digits": {"size": 9}}}, "digits.size: unknown key 'size': did you mean 'image_size'?"),
        (
            {"networks": {"vgg11": {"widht": 1}}, **PLAIN},
            "unknown key of networks.vgg11 'widht': did you mean 'width'?",
        ),
        (
            {"networks": {"vgg11": {"schedule": {"epoch": 3}}}, **PLAIN},
            "schedule of digits, vgg11: epoch: unknown key 'epoch': did you mean 'epochs'?",
        ),
        ({"lam": {"vgg11": 1, "thick": 1}}, "unknown network in lam 'thick': did you mean 'thin'?"),
        ({"methods": [{"name": "l1", "lam": {"vgg11": 1, "thick": 1}}]}, "unknown network in lam 'thick'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(keys, message):
    assert message in refusal(changed(**keys))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        *(({"methods": [{"name": "lp", "p": p}]}, f"lp: p must lie in (0, 1), got {p}") for p in (0, 1, -0.5, 1.5)),
        *(({"ratios": [0.5, ratio]}, "ratios.1: ") for ratio in (1, 1.5, -0.1, float("nan"), "half")),
        *(({"lam": lam, "methods": ["l1"]}, "lam.vgg11: ") for lam in (float("nan"), float("inf"), "much", [1])),
        ({"lam": -1, "methods": ["l1"]}, "l1: lam must lie in [0, inf), got -1.0"),
        *(({"methods": [{"name": "l1", "lam": lam}]}, "l1: lam must lie in") for lam in ("much", [[1]], -1, True)),
        ({"lam": {"vgg11": 1}}, "lam names vgg11 but not thin"),
        ({"lam": {"vgg11": 1, "thin": "much"}}, "lam.thin: "),
        ({"finetune": {"ratios": [0.4]}}, "finetune ratio 0.4 is not among the ratios [0.5, 0.0, 0.25]"),
        ({"finetune": {"ratios": [0.25, 0.25]}}, "finetune.ratios holds 0.25 twice"),
        ({"finetune": {"epochs": 0}}, "finetune.epochs: "),
        ({"scratch": {"ratios": [0.4]}}, "scratch ratio 0.4 is not among the ratios [0.5, 0.0, 0.25]"),
        ({"scratch": {"ratios": [0.25, 0.25]}}, "scratch.ratios holds 0.25 twice"),
        ({"compensate": "perhaps"}, "compensate: "),
        ({"seeds": [1, 2, 1]}, "seeds holds 1 twice"),
        ({"seeds": [-1]}, "seeds.0: "),
        ({"seeds": [1 << 63]}, "seeds.0: "),
        ({"seeds": []}, "seeds: "),
        ({"ratios": [0.5, 0.25, 0.5]}, "ratios holds 0.5 twice"),
        ({"ratios": [0.25, 0.3, 0.30]}, "ratios holds 0.3 twice"),
        ({"ratios": []}, "ratios: "),
        ({"methods": ["l1", {"name": "l1", "lam": 1}]}, "methods: two share the slug of "),
        ({"methods": ["l1", {"name": "none", "label": "l1"}]}, "methods: two share the slug of "),
        ({"methods": []}, "methods: "),
        ({"methods": [{"p": 0.5}]}, "methods: {'p': 0.5} has no name"),
        ({"methods": [{"name": ["l1"]}]}, "methods: {'name': ['l1']} has no name"),
        ({"methods": [{"name": "none", "a": 1}]}, "method none "),
        ({"methods": [{"name": "l1", "label": "../../l1"}]}, "methods: the label '../../l1' "),
        ({"methods": [{"name": "l1", "label": "l1\n"}]}, "methods: the label 'l1\\n' "),
        ({"name": "../x"}, "name: "),
        ({"name": ""}, "name: "),
        ({"datasets": {}}, "datasets: "),
        ({"datasets": ["digits"]}, "datasets: "),
        ({"datasets": {"digits": {"image_size": 7}}}, "datasets.digits.image_size: "),
        ({"networks": {}}, "networks: "),
        ({"networks": {"vgg11": {"width": 0}}}, "networks.vgg11.width: "),
        ({"networks": {"vgg11": {"schedule": {"lr": -3}}}, **PLAIN}, "schedule of digits, vgg11: lr: "),
        ({"networks": {"../vgg11": {"build": "vgg11"}}}, "networks.../vgg11"),
        ({"schedule": {"lr": float("inf")}}, "schedule.lr: "),
        ({"schedule": {"milestones": [0.5, 75]}}, "schedule.milestones.1: "),
        ({"threads": 0}, "threads: "),
        ({"device": "tpu"}, "device: Input should be 'cpu' or 'cuda', got 'tpu'"),
        ({"precision": "fp8"}, "precision: Input should be 'fp32' or 'bf16', got 'fp8'"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_the_key(keys, message):
    assert refusal(changed(**keys)).startswith(message)


@pytest.mark.parametrize(
    ("networks", "labels", "message"),
    [
        ({"vgg11": None}, ("a-b", "a_b"), "digits/vgg11/a-b and digits/vgg11/a_b would have one name in the paper, "),
        ({"vgg11": None}, ("a", "a-sd"), "digits/vgg11/a and digits/vgg11/a-sd would have one name in the paper, "),
        (
            {"v": {"build": "vgg11"}, "v-a": {"build": "vgg11"}},
            ("a-b", "b"),
            "digits/v/a-b and digits/v-a/b would have one name in the paper, ",
        ),
    ],
)
def test_names_that_are_one_in_the_paper_are_refused(networks, labels, message):
    methods = [{"name": "none", "label": label} for label in labels]
    content = changed(datasets={"digits": None}, networks=networks, methods=methods, lam=1)
    assert refusal(content).startswith(message)


@pytest.mark.parametrize("key", ["name", "datasets", "networks", "methods", "seeds", "ratios"])
def test_a_missing_key_is_named(key):
    assert refusal(changed(**{key: None})) == f"{key} is missing"


@pytest.mark.parametrize("content", [None, [], "text", 3])
def test_what_is_no_mapping_is_refused(content):
    assert refusal(content).startswith("the top level: ")


@pytest.mark.parametrize("content", [b"a: [1,\nb: {", b"\xff\xfe\x00a", b"a: b: c", b"a: !unknown x"])
def test_a_file_that_is_no_yaml_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.yaml: not a readable YAML file") as caught:
        study.load(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: not a readable YAML file .*No such file"):
        study.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "digit"}, "run: unknown data set 'digit': did you mean 'digits'?"),
        ({"method": {}}, "run: methods: {} has no name"),
        ({"method": {"name": "l11"}}, "run: unknown method 'l11': did you mean 'l1'?"),
        ({"architecture": {}}, "run: unknown network ''"),
        ({"architecture": {"name": "vgg11", "num_classes": 3}}, "run: unknown option of vgg networks 'num_classes'"),
        ({"sched": {}}, "run: sched: unknown key 'sched': did you mean 'schedule'?"),
        ({"schedule": {"epochs": 0}}, "run: schedule.epochs: "),
        ({"seed": -1}, "run: seed: "),
        ({"method_slug": "a/b"}, "run: method_slug: "),
    ],
)
def test_a_bad_run_is_refused_in_one_line(change, message, tiny):
    run = json.loads(tiny.runs()[0].settings()) | change
    with pytest.raises(InputError) as caught:
        study.parse_run(json.dumps(run))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "", "[1,", "{'a': 1}"])
def test_settings_that_are_no_json_are_refused(text):
    with pytest.raises(InputError, match="the run is not JSON"):
        study.parse_run(text)
    with pytest.raises(InputError, match=r"the study is not JSON|not a readable YAML file"):
        study.load(text)


def test_a_study_cannot_be_changed(tiny):
    with pytest.raises(ValueError, match="frozen"):
        tiny.name = "other"


def test_the_scheduler_can_read_studies_without_heavy_packages():
    code = "import sys, slimming.study; print(*{'torch', 'pandas', 'sklearn', 'numpy', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
