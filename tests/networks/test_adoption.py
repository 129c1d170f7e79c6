"""Somebody's own network: its sites are found, cut exactly, and what cannot be cut is said."""

import copy
import linecache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from examples import SMALL, pictures, randomised, setting
from slimming import checkpoints, foreign, methods, networks, pruning
from slimming.errors import InputError
from slimming.networks import adoption, forms
from slimming.stages import export

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def block(inputs, outputs, **options):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, **options), nn.BatchNorm2d(outputs), nn.ReLU())


class Net(nn.Module):
    """A stem, whatever `body` makes of its eight channels, and a classifier."""

    def __init__(self, body, outputs=8):
        super().__init__()
        self.stem, self.body, self.head = block(3, 8), body, nn.Linear(outputs, 5)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class Gated(nn.Module):
    """Squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(functional.silu(self.down(functional.adaptive_avg_pool2d(x, 1)))))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(block(8, 6), nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8))

    def forward(self, x):
        return functional.relu(x + self.inner(x))


class Joined(nn.Module):
    """Two branches, one behind the other in one tensor."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.after = block(8, 5), block(8, 3), block(8, 8)

    def forward(self, x):
        return self.after(torch.cat([self.left(x), functional.max_pool2d(self.right(x), 3, 1, 1)], 1))


class Shuffled(nn.Module):
    def forward(self, x):
        first, second = x.chunk(2, 1)
        return torch.cat([second, first], 1)


class Numbered(nn.Module):
    """Writes the number of channels into its code."""

    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return self.last(x.view(len(x), 8, 16, 16))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.first, self.second = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x):
        return self.second(self.conv(self.first(self.conv(x)).relu()))


DEPTHWISE = nn.Sequential(block(8, 8, groups=8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Hardswish())
BODIES = {
    "depthwise": DEPTHWISE,
    "depthwise with a bias, no norm": nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.Conv2d(8, 8, 1)),
    "depthwise, no norm": nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, padding=1, bias=False), nn.Conv2d(8, 8, 1)),
    "grouped": nn.Sequential(block(8, 8, groups=2), block(8, 8)),
    "gated": nn.Sequential(block(8, 8), Gated(), block(8, 8)),
    "residual": nn.Sequential(Residual(), Residual()),
    "joined": Joined(),
    "shuffled": nn.Sequential(block(8, 8), Shuffled(), block(8, 8)),
    "shared": Shared(),
    "norm of a norm": nn.Sequential(nn.BatchNorm2d(8), nn.BatchNorm2d(8), block(8, 8)),
    "sigmoid": nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Sigmoid(), block(8, 8)),
    "weight norm": nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1)), nn.BatchNorm2d(8)),
    "dropout": nn.Sequential(block(8, 8), nn.Dropout2d(0.5), block(8, 8)),
    "flattened": nn.Sequential(
        block(8, 8), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 8), nn.Unflatten(1, (8, 1, 1))
    ),
}


def filled(model):
    """With statistics and factors of a network that has learned something."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5), (module.bias, -0.5, 0.5), (module.running_mean, -0.1, 0.1)
            ):  # fmt: skip
                nn.init.uniform_(tensor, low, high, generator=generator)
    return model


@pytest.fixture(scope="module", params=BODIES)
def body(request):
    torch.manual_seed(0)
    return filled(Net(copy.deepcopy(BODIES[request.param])))


def compare(net, plan, images=IMAGES):
    """The distance of pruned from masked, in evaluation and in training."""
    images = images.double()
    net = copy.deepcopy(net).double()
    one, other = pruning.apply(net, plan), pruning.masked(net, plan)
    distances = []
    for training in (False, True):
        for module in (*one.train(training).modules(), *other.train(training).modules()):
            if isinstance(module, nn.Dropout | nn.Dropout2d):
                module.eval()
        distances.append((one(images) - other(images)).abs().max().item())
    return max(distances)


def drawn(net, ratio, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = {site: norm.num_features for site, norm in networks.prunable(net).items()}
    scores = {site: torch.rand(size, generator=generator) for site, size in sizes.items()}
    return pruning.ranked(net, scores, ratio, pruning.Budget("parameters"))


@pytest.mark.parametrize("selection", adoption.SELECTIONS)
def test_pruned_computes_what_masked_computes(body, selection):
    net = networks.adopt(body, IMAGES, selection=selection)
    norms = {f"model.{path}" for path, module in body.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert norms == {*networks.prunable(net), *net.tied, *net.refused}
    assert not net.refused
    plan = drawn(net, 0.3)
    assert compare(net, plan) < 1e-12
    small = pruning.apply(net, plan)
    assert small.sites[0].norm == net.sites[0].norm
    again = drawn(small, 0.2, seed=1)
    assert compare(small, again) < 1e-12
    count = sum(map(torch.Tensor.numel, small.parameters()))
    assert count <= 0.7 * sum(map(torch.Tensor.numel, net.parameters()))


@given(seed=st.integers(0, 10**6), ratio=st.floats(0, 0.9))
def test_any_plan_is_exact(seed, ratio):
    torch.manual_seed(0)
    model = filled(Net(nn.Sequential(Joined(), Residual(), copy.deepcopy(DEPTHWISE))))
    assert compare(networks.adopt(model, IMAGES), drawn(networks.adopt(model, IMAGES), ratio, seed)) < 1e-12


@pytest.mark.parametrize(
    ("name", "norm", "field", "value"),
    [
        ("depthwise", "body.0.1", "tied", ("model.body.0.0", "model.stem.1", "model.stem.0")),
        ("depthwise with a bias, no norm", "stem.1", "spread", True),
        ("depthwise, no norm", "stem.1", "reader", "model.body.1"),
        ("grouped", "stem.1", "spread", True),
        ("grouped", "body.0.1", "gather", True),
        ("gated", "body.0.1", "tied", ("model.body.0.0", "model.body.1.up")),
        ("residual", "body.0.inner.2", "spread", True),
        ("joined", "body.right.1", "readers", (networks.base.Reader("model.body.after.0", 5, 1),)),
        ("shuffled", "body.0.1", "spread", True),
        ("shared", "body.first", "gather", True),
        ("sigmoid", "body.1", "spread", True),
        ("weight norm", "body.1", "gather", True),
        ("flattened", "body.0.1", "readers", (networks.base.Reader("model.body.3", 0, 9),)),
    ],
)
def test_where_channels_come_from_and_go_to(name, norm, field, value):
    net = networks.adopt(Net(copy.deepcopy(BODIES[name])), IMAGES)
    site = next(site for site in net.sites if site.norm == f"model.{norm}")
    assert getattr(site, field) == value


def test_what_is_added_loses_the_same_channels_where_it_is_coupled():
    net = networks.adopt(filled(Net(copy.deepcopy(BODIES["residual"]))), IMAGES, selection="coupled")
    stem, first, second = "model.stem.1", "model.body.0.inner.2", "model.body.1.inner.2"
    assert net.groups()[stem] == [stem, first, second]
    assert not any(site.spread for site in net.sites)
    plan = drawn(net, 0.4)
    small = pruning.apply(net, plan)
    assert torch.equal(plan[stem], plan[second])
    assert small.model.head.in_features == len(plan[stem]) < 8
    with pytest.raises(InputError, match="added, and must keep the same channels"):
        pruning.apply(net, {stem: torch.arange(3)})


def test_a_number_of_channels_in_the_code_is_found_out():
    net = networks.adopt(filled(Net(nn.Sequential(block(8, 8), Numbered(), nn.BatchNorm2d(8)))), IMAGES)
    spreads = {site.norm for site in net.sites if site.spread}
    assert "model.body.0.1" in spreads
    assert not net.refused
    assert compare(net, drawn(net, 0.3)) < 1e-12


class Acting(nn.Module):
    """Computes what it is told, by an attribute that no tensor shows."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Softer(Gated):
    __qualname__ = "Gated"

    def forward(self, x):
        return x * functional.hardsigmoid(self.up(functional.relu(self.down(functional.adaptive_avg_pool2d(x, 1)))))


def strided(stride):
    return nn.Sequential(nn.Conv2d(8, 8, 3, stride, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: Acting(functional.silu), lambda: Acting(functional.hardswish)),
        (lambda: Acting(lambda x: 2 * x), lambda: Acting(lambda x: 3 * x)),
        (lambda: strided(1), lambda: strided(2)),
        (Gated, Softer),
    ],
    ids=["attribute", "lambda", "stride", "code"],
)
def test_networks_that_differ_where_no_tensor_shows_it_are_kept_apart(one, other):
    models = [filled(Net(nn.Sequential(block(8, 8), middle(), block(8, 8)))) for middle in (one, other)]
    nets = [networks.adopt(model, IMAGES) for model in models]
    for net in nets:
        assert compare(net, drawn(net, 0.3)) < 1e-12


def test_a_checkpoint_outlives_a_comment_in_its_code(tmp_path):
    file = tmp_path / "nets.py"
    code = """
from torch import nn

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, 4))

    def forward(self, x):
        return self.layers(x) + 1
"""
    key = {}
    for name, written in (("old", code), ("new", code + "        # why"), ("other", code.replace("+ 1", "+ 2"))):
        file.write_text(written, encoding="utf-8")
        linecache.clearcache()
        key[name] = networks.adopt(foreign.get(f"{file}:Small")(), IMAGES).spec["adopted"]
    assert key["old"] == key["new"] != key["other"]


@pytest.mark.parametrize("dims", [None, (-3, -2), (2, 3)])
def test_a_mean_over_channels_is_a_barrier(dims):
    class Centred(nn.Module):
        def forward(self, x):
            return x - (x.mean() if dims is None else x.mean(dims, keepdim=True))

    net = networks.adopt(filled(Net(nn.Sequential(block(8, 8), Centred(), block(8, 8)))), IMAGES)
    assert next(site for site in net.sites if site.norm == "model.body.0.1").spread
    assert compare(net, drawn(net, 0.3)) < 1e-12


def test_what_differs_in_any_case_is_refused_with_the_reason():
    class Counted(nn.Module):
        """Asks its BatchNorm how wide it is."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)

        def forward(self, x):
            return self.norm(self.conv(x)) * self.norm.num_features

    net = networks.adopt(filled(Net(Counted())), IMAGES)
    assert net.refused == {"model.body.norm": adoption.DIFFERS}
    assert [site.norm for site in net.sites] == ["model.stem.1"]


@pytest.mark.parametrize("name", ["joined", "gated", "sigmoid", "flattened"])
def test_constants_of_removed_channels_become_biases_whatever_the_activation(name):
    model = filled(Net(copy.deepcopy(BODIES[name])))
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.padding = (0, 0) if name == "joined" else module.padding  # a border differs
    model.stem[2] = nn.SiLU()
    net = networks.adopt(model, IMAGES).double()
    sites = [site.norm for site in net.sites if site.columns and not site.spread]
    plan = {site: kept for site, kept in drawn(net, 0.4).items() if site in sites[:1]}
    small = pruning.apply(net, plan, compensate=(3, 16, 16)).eval()
    masked = pruning.masked(net, plan, keep_shift=True).eval()
    if name == "joined":
        assert (small(IMAGES.double()) - masked(IMAGES.double())).abs().max() < 1e-12
    else:
        plain = pruning.apply(net, plan).eval()
        expected, images = masked(IMAGES.double()), IMAGES.double()
        assert (small(images) - expected).abs().max() < (plain(images) - expected).abs().max()


@pytest.mark.parametrize("name", ["residual", "grouped", "shuffled"])
def test_constants_of_removed_channels_stand_where_a_site_spreads(name, tmp_path):
    model = filled(Net(copy.deepcopy(BODIES[name])))
    net, images = networks.adopt(model, IMAGES).double(), IMAGES.double()
    for round in range(2):
        plan = {site.norm: kept for site in net.sites if site.spread and len(kept := drawn(net, 0.4, round)[site.norm])}
        assert plan
        small, expected = pruning.apply(net, plan, compensate=(3, 16, 16)), pruning.masked(net, plan, keep_shift=True)
        for training in (True, False):
            assert (small.train(training)(images) - expected.train(training)(images)).abs().max() < 1e-12
        net = small
    checkpoints.save(tmp_path / "small.safetensors", net, {})
    loaded, _ = checkpoints.load(tmp_path / "small.safetensors")
    assert (loaded.double().eval()(images) - net(images)).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["residual", "joined"])
def test_what_gathers_and_spreads_is_exported_for_any_batch(name, tmp_path):
    net = networks.adopt(filled(Net(copy.deepcopy(BODIES[name]))), IMAGES)
    small = pruning.apply(net, drawn(net, 0.3)).eval()
    export._write_pt2(small, tmp_path / "small.pt2", (3, 16, 16))
    run = export._load_pt2(tmp_path / "small.pt2")
    for count in (1, 4):
        assert torch.equal(run(IMAGES[:count]), small(IMAGES[:count]))


def test_what_no_form_can_say_stays_plain():
    net = networks.adopt(
        filled(Net(nn.Sequential(block(8, 8, groups=2), block(8, 8, padding_mode="circular"), block(8, 8)))),
        IMAGES,
    )
    with pytest.raises(InputError, match=r"model\.body\.0\.0: is grouped, dilated, or pads otherwise"):
        forms.write(net, {"model.body.0.0": {"form": "svd", "rank": 2}})
    plan = methods.get("decompose").plan(net, 0.3, setting(pictures(), "parameters"))
    assert {*plan.forms} == {"model.body.2.0"}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(768, 5)), "nothing to prune: it has no BatchNorm2d"),
        (nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Flatten(), nn.Linear(768, 5)), "no scaling factors"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), "gives no tensor"),
    ],
)  # fmt: skip
def test_what_cannot_be_pruned_at_all_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        networks.adopt(model, IMAGES)


@pytest.mark.parametrize("network", SMALL)
def test_our_own_networks_adopted_are_what_they_are(network):
    net = randomised(network)
    other = networks.adopt(net, IMAGES)
    sites = [
        (f"model.{site.norm}", {f"model.{path}" for path in site.rows}, f"model.{site.consumer}", bool(site.select))
        for site in net.sites
    ]
    found = [site for site in other.sites if not site.spread]  # behind which a sum reads; ours leave those alone
    assert [(site.norm, {*site.rows}, site.consumer, site.gather) for site in found] == sites
    if len(found) < len(other.sites):
        return
    scores = {site: norm.weight.detach().abs() for site, norm in networks.prunable(net).items()}
    budget = pruning.Budget("macs", (3, 16, 16))
    plan = pruning.ranked(net, scores, 0.5, budget)
    same = pruning.ranked(other, {f"model.{site}": score for site, score in scores.items()}, 0.5, budget)
    assert all(torch.equal(plan[site], same[f"model.{site}"]) for site in plan)
    assert torch.equal(pruning.apply(net, plan).eval()(IMAGES), pruning.apply(other, same).eval()(IMAGES))


def test_a_checkpoint_rebuilds_with_the_factory_and_not_without(body, tmp_path, monkeypatch):
    factory = copies_of(body)
    net = networks.adopt(body, IMAGES, factory=factory)
    small = pruning.apply(net, drawn(net, 0.3)).eval()
    path = tmp_path / "small.safetensors"
    checkpoints.save(path, small, {"a": 1})
    monkeypatch.setattr(adoption, "BUILDERS", {})
    with pytest.raises(InputError, match="only its own code can build"):
        checkpoints.load(path)
    with pytest.raises(InputError, match="builds another network today"):
        checkpoints.load(path, lambda: Net(block(8, 8, stride=2)))
    monkeypatch.setattr(adoption, "find_sites", None)  # nothing is traced again
    again, record = checkpoints.load(path, factory)
    assert record == {"a": 1}
    assert torch.equal(again(IMAGES), small(IMAGES))
    assert again.sites == small.sites


@pytest.mark.parametrize("method", ["decompose", "l1", "random", "swd"])
def test_methods_that_need_no_reader_compress_what_was_adopted_and_it_is_stored(method, tmp_path):
    body = filled(Net(nn.Sequential(copy.deepcopy(BODIES["residual"]), copy.deepcopy(BODIES["joined"]))))
    net = networks.adopt(body, IMAGES)
    plan = methods.get(method).plan(net, 0.4, setting(pictures(), "parameters"))
    small = pruning.apply(net, plan).eval()
    checkpoints.save(tmp_path / "a.safetensors", small, {})
    again, _ = checkpoints.load(tmp_path / "a.safetensors")
    assert torch.equal(again(IMAGES), small(IMAGES))
    counts = [sum(map(torch.Tensor.numel, some.parameters())) for some in (small, net)]
    assert counts[0] <= 0.65 * counts[1]


def test_methods_that_need_a_reader_say_so():
    net = networks.adopt(filled(Net(copy.deepcopy(BODIES["residual"]))), IMAGES)
    with pytest.raises(InputError, match=r"no layer reads model\.stem\.1 and nothing else"):
        methods.get("cc").plan(net, 0.4, setting(pictures(), "parameters"))


def copies_of(model):
    return lambda: copy.deepcopy(model)


def test_models_of_torchvision_are_adopted():
    from slimming import vision  # isort: skip  # noqa: F401 (makes torchvision importable)
    from torchvision import models

    for name, tied in (("resnet18", 0), ("mobilenet_v3_small", 11), ("shufflenet_v2_x0_5", 16)):
        torch.manual_seed(0)
        net = networks.adopt(filled(getattr(models, name)(num_classes=10)), torch.randn(2, 3, 48, 48))
        assert len(net.tied) == tied
        assert not net.refused
        assert compare(net, drawn(net, 0.5), torch.randn(2, 3, 48, 48)) < 1e-9
