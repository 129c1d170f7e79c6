"""Pruning removes what the ranking says, and the smaller network computes what the masked one computes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples import SMALL, randomised
from slimming import checkpoints, methods, networks, pruning
from slimming.errors import InputError

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
IMAGE = tuple(IMAGES.shape[1:])
FULL_CHANNELS = {"vgg19": 5_504, "densenet40": 9_360, "resnet164": 12_112}


def scores(net):
    return methods.get("none").scores(net)


def agree(net, plan, images=IMAGES):
    """Largest difference between the masked and the pruned network."""
    with torch.no_grad():
        return (pruning.masked(net, plan)(images) - pruning.apply(net, plan)(images)).abs().max().item()


@pytest.mark.parametrize("name", SMALL)
@given(seed=st.integers(0, 2**16), ratio=st.floats(0, 0.98), size=st.sampled_from([8, 11, 16]))
def test_pruned_equals_masked(name, seed, ratio, size):
    net = randomised(name, seed)
    plan = pruning.plan(scores(net), ratio)
    assert agree(net, plan, IMAGES[..., :size, :size]) <= 1e-5


@pytest.mark.parametrize("name", FULL_CHANNELS)
def test_full_size_pruned_equals_masked_and_count_is_exact(name):
    net = randomised(name)
    plan = pruning.plan(scores(net), 0.4)
    assert sum(map(len, plan.values())) == FULL_CHANNELS[name] - round(0.4 * FULL_CHANNELS[name])
    assert agree(net, plan) <= 1e-5


@pytest.mark.parametrize("name", SMALL)
def test_ratio_zero_is_the_identity(name):
    net = randomised(name)
    small = pruning.apply(net, pruning.plan(scores(net), 0))
    assert all(torch.equal(value, small.state_dict()[key]) for key, value in net.state_dict().items())
    with torch.no_grad():
        assert torch.equal(net(IMAGES), small(IMAGES))


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    ratio=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 2**16),
    levels=st.integers(1, 50),
)
def test_exactly_the_rounded_share_goes_whatever_the_ties(sizes, ratio, seed, levels):
    generator = torch.Generator().manual_seed(seed)
    drawn = {f"s{i}": torch.randint(levels, (n,), generator=generator).float() for i, n in enumerate(sizes)}
    plan = pruning.plan(drawn, ratio, min_channels=0)
    kept = sum(map(len, plan.values()))
    assert kept == sum(sizes) - round(ratio * sum(sizes))
    assert plan.ratio_reached == pytest.approx(1 - kept / sum(sizes))
    flat = torch.cat(list(drawn.values()))
    mask = torch.cat([torch.isin(torch.arange(n), plan[f"s{i}"]) for i, n in enumerate(sizes)])
    if kept and kept < len(flat):
        assert flat[mask].min() >= flat[~mask].max()
        tied = flat == flat[~mask].max()  # among equals the earlier site and index go first
        assert not mask[tied][: int((tied & ~mask).sum())].any()
    for index in plan.values():
        assert index.dtype == torch.int64
        assert (index[1:] > index[:-1]).all()


@given(st.integers(1, 400), st.floats(0, 0.99), st.integers(0, 9999))
def test_reference_threshold_reproduces_the_authors_rule(channels, ratio, seed):
    gamma = torch.rand(channels, generator=torch.Generator().manual_seed(seed))
    plan = pruning.plan({"s": gamma}, ratio, min_channels=0, threshold="reference")
    threshold = sorted(gamma.tolist())[int(channels * ratio)]
    assert plan["s"].tolist() == [i for i, value in enumerate(gamma.tolist()) if value > threshold]


def test_reference_threshold_prunes_one_more_than_the_index():
    # 40 % of ResNet-164's 12 112 channels: 4 845 go, not 4 844
    plan = pruning.plan({"s": torch.rand(12_112)}, 0.4, threshold="reference")
    assert 12_112 - len(plan["s"]) == 4_845


def test_a_site_keeps_its_best_channel_and_the_plan_says_so():
    plan = pruning.plan({"a": torch.tensor([0.1, 0.3, 0.2]), "b": torch.tensor([1.0, 2.0, 3.0])}, 0.5)
    assert plan["a"].tolist() == [1]
    assert plan.floored == ("a",)
    assert plan.ratio == 0.5
    assert plan.ratio_reached == pytest.approx(2 / 6)


def emptied(net, *sites):
    """A plan that leaves the given sites without channels and every second channel elsewhere."""
    plan = {name: torch.arange(0, norm.num_features, 2) for name, norm in networks.prunable(net).items()}
    return plan | {site: torch.empty(0, dtype=torch.int64) for site in sites}


@pytest.mark.parametrize("empty", [("norm1",), ("norm2",), ("norm3",), ("norm1", "norm2"), ("norm1", "norm2", "norm3")])
@pytest.mark.parametrize("block", ["stage1_1", "stage1_2", "stage2_1", "stage3_2"])
@pytest.mark.parametrize("size", [8, 11, 16])
def test_residual_branch_without_channels_is_folded_exactly(empty, block, size):
    net = randomised("resnet20")
    plan = emptied(net, *(f"blocks.{block}.{norm}" for norm in empty))
    assert agree(net, plan, IMAGES[..., :size, :size]) <= 1e-5
    small = pruning.apply(net, plan)
    assert not any(site.norm in plan and len(plan[site.norm]) == 0 for site in small.sites)


def test_every_residual_branch_can_be_dropped():
    net = randomised("resnet20")
    inner = [site for site in networks.prunable(net) if site != "norm"]
    assert agree(net, emptied(net, *inner)) <= 1e-5


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("block", ["stage1_1", "stage2_1", "stage3_2"])
@pytest.mark.parametrize("size", [8, 11])
def test_basic_block_without_channels_is_folded_exactly(shortcut, block, size):
    net = randomised("basicresnet20", width=0.25, shortcut=shortcut)
    plan = emptied(net, f"blocks.{block}.norm1")
    assert agree(net, plan, IMAGES[..., :size, :size]) <= 1e-5
    assert agree(net, emptied(net, *networks.prunable(net))) <= 1e-5


@pytest.mark.parametrize("layers", [("block1_1",), ("block1_3", "block2_2"), ("block3_3",)])
def test_dense_layer_without_channels_is_dropped_exactly(layers):
    net = randomised("densenet13")
    plan = emptied(net, *(f"layers.{layer}.norm" for layer in layers))
    assert agree(net, plan) <= 1e-5
    small = pruning.apply(net, plan)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("vgg11", "features.0.norm"),
        ("densenet13", "layers.transition1.norm"),
        ("densenet13", "norm"),
        ("resnet20", "norm"),
    ],
)
def test_a_site_all_depends_on_may_not_become_empty(name, site):
    net = randomised(name)
    with pytest.raises(InputError, match=f"{site} would keep no channel"):
        pruning.apply(net, emptied(net, site))


@pytest.mark.parametrize("name", SMALL)
def test_a_pruned_network_can_be_pruned_again(name):
    net = randomised(name)
    once = pruning.apply(net, pruning.plan(scores(net), 0.3, min_channels=1))
    assert agree(once, pruning.plan(scores(once), 0.3)) <= 1e-5


def test_a_folded_network_can_be_pruned_again_and_reloaded(tmp_path):
    net = randomised("resnet20")
    sites = [f"blocks.{name}" for name in ("stage1_1.norm1", "stage1_2.norm2", "stage2_2.norm3")]
    once = pruning.apply(net, emptied(net, *sites))
    plan = pruning.plan(scores(once), 0.3)
    assert agree(once, plan) <= 1e-5
    checkpoints.save(tmp_path / "x.safetensors", once, {})
    again, _ = checkpoints.load(tmp_path / "x.safetensors")
    with torch.no_grad():
        assert torch.equal(once(IMAGES), again(IMAGES))


@pytest.mark.parametrize("name", SMALL)
def test_the_dense_network_is_left_as_it_was(name):
    net = randomised(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    pruning.apply(net, pruning.plan(scores(net), 0.6)).train()(IMAGES).sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_exported_pruned_network_computes_the_same(name):
    net = randomised(name)
    small = pruning.apply(net, pruning.plan(scores(net), 0.5))
    exported = torch.export.export(small, (IMAGES,)).module()
    with torch.no_grad():
        assert (exported(IMAGES) - small(IMAGES)).abs().max() <= 1e-6


@pytest.mark.parametrize("name", SMALL)
def test_pruned_checkpoint_reloads_without_the_dense_network(name, tmp_path):
    net = randomised(name)
    small = pruning.apply(net, pruning.plan(scores(net), 0.5))
    checkpoints.save(tmp_path / "small.safetensors", small, {"ratio": 0.5})
    again, record = checkpoints.load(tmp_path / "small.safetensors")
    assert record == {"ratio": 0.5}
    with torch.no_grad():
        assert torch.equal(small(IMAGES), again(IMAGES))


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan")])
def test_ratio_outside_the_range_is_refused(ratio):
    with pytest.raises(InputError, match="outside"):
        pruning.plan({"s": torch.ones(3)}, ratio)


def test_bad_scores_sites_and_indices_are_refused():
    with pytest.raises(InputError, match="not finite"):
        pruning.plan({"s": torch.tensor([1.0, float("nan")])}, 0.5)
    with pytest.raises(InputError, match="no scores"):
        pruning.plan({}, 0.5)
    with pytest.raises(InputError, match="did you mean 'exact'"):
        pruning.plan({"s": torch.ones(3)}, 0.5, threshold="exakt")
    net = randomised("vgg11")
    with pytest.raises(InputError, match=r"did you mean 'features\.0\.norm'"):
        pruning.apply(net, {"features.0.nrm": torch.arange(2)})
    with pytest.raises(InputError, match="has 8 channels"):
        pruning.apply(net, {"features.0.norm": torch.arange(9)})


@pytest.mark.parametrize("name", SMALL)
def test_a_compensated_network_has_the_constants_of_its_removed_channels(name):
    net = randomised(name)
    plan = pruning.plan(scores(net), 0.4)
    bordered = [site for site in net.sites if net.get_submodule(site.consumer).weight.shape[2:] == (3, 3)]
    for site in bordered:  # not exact at the border
        net.get_submodule(site.norm).bias.data.zero_()
    exact, small = pruning.masked(net, plan, keep_shift=True), pruning.apply(net, plan, compensate=IMAGE)
    torch.testing.assert_close(small(IMAGES), exact(IMAGES), rtol=1e-4, atol=1e-5)
    changes = (pruning.apply(net, plan)(IMAGES) - exact(IMAGES)).abs().max() > 1e-3
    assert changes == (len(bordered) < len(net.sites))


def test_compensation_is_the_mean_effect_of_constants_on_a_padded_convolution():
    net = randomised("vgg11")
    first = net.sites[0]
    plan = {first.norm: torch.arange(3)}
    outputs, pruned = {}, pruning.apply(net, plan, compensate=IMAGE)
    for key, made in (("exact", pruning.masked(net, plan, keep_shift=True)), ("small", pruned)):
        consumer = made.get_submodule(first.consumer)
        consumer.register_forward_hook(lambda _, __, output, key=key: outputs.update({key: output}))
        made(IMAGES)
    difference = outputs["exact"] - outputs["small"]
    assert difference.abs().max() > 1e-3  # at the border
    assert difference.mean((0, 2, 3)).abs().max() <= 1e-5


def test_compensation_is_exact_where_a_padded_convolution_sees_one_pixel():
    net = randomised("vgg11").eval()
    last = net.sites[-2]  # its reader works on 1x1 maps
    plan = {last.norm: torch.arange(3)}
    exact = pruning.masked(net, plan, keep_shift=True)(IMAGES)
    torch.testing.assert_close(pruning.apply(net, plan, compensate=IMAGE)(IMAGES), exact, rtol=1e-4, atol=1e-5)
    assert (pruning.apply(net, plan)(IMAGES) - exact).abs().max() > 1e-3


@pytest.mark.parametrize("name", SMALL)
def test_a_compensated_network_is_stored_rebuilt_and_pruned_again(name):
    net = randomised(name)
    small = pruning.apply(net, pruning.plan(scores(net), 0.3), compensate=IMAGE)
    again = networks.from_spec(small.spec)
    again.load_state_dict(small.state_dict())
    assert torch.equal(again.eval()(IMAGES), small.eval()(IMAGES))
    assert agree(small, pruning.plan(scores(small), 0.3)) <= 1e-5


def test_a_compensated_network_keeps_a_channel_everywhere():
    net = randomised("resnet20")
    plan = emptied(net, "blocks.stage1_1.norm3")
    with pytest.raises(InputError, match="norm3 would keep no channel, which a compensated network needs"):
        pruning.apply(net, plan, compensate=IMAGE)
    small = pruning.apply(net, pruning.plan(scores(net), 0.3), compensate=IMAGE)
    with pytest.raises(InputError, match="keep min_channels=1"):
        pruning.apply(small, emptied(small, "blocks.stage1_1.norm3"))


def test_a_plan_may_be_the_compressed_network_itself():
    net, other = randomised("vgg11"), randomised("vgg11", seed=1, width=0.0625)
    plan = pruning.Plan.whole(net, 0.5)
    plan.network = other
    small = pruning.apply(net, plan, compensate=(3, 16, 16))
    assert small is not other
    assert small.spec == other.spec
    assert all(map(torch.equal, small.state_dict().values(), other.state_dict().values()))
