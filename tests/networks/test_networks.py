"""The architectures are those of the paper's code, to the unit, and rebuild from their spec."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples import SMALL, randomised
from slimming import networks
from slimming.errors import InputError
from slimming.measuring import cost
from slimming.networks import basicresnet

FULL = {  # parameters, conv+FC MACs at 32x32, prunable channels, for 10 classes
    "basicresnet20": (269_722, 40_551_040, 336),
    "basicresnet56": (853_018, 125_485_696, 1_008),
    "basicresnet110": (1_727_962, 252_887_680, 2_016),
    "vgg19": (20_035_018, 398_136_320, 5_504),
    "densenet40": (1_059_298, 282_917_328, 9_360),
    "resnet164": (1_703_258, 247_646_720, 12_112),
}
HUNDRED = {  # parameters, MACs for 100 classes
    "vgg19": (20_081_188, 398_182_400),
    "densenet40": (1_100_428, 282_958_368),
    "resnet164": (1_726_388, 247_669_760),
}


@pytest.mark.parametrize("name", FULL)
def test_counts_hold_to_the_unit(name):
    found = cost.count(networks.build(name), (3, 32, 32))
    assert (found["parameters"], found["macs"], found["channels"]) == FULL[name]


@pytest.mark.parametrize("name", HUNDRED)
def test_counts_of_a_hundred_classes_hold_to_the_unit(name):
    found = cost.count(networks.build(name, num_classes=100), (3, 32, 32))
    assert (found["parameters"], found["macs"]) == HUNDRED[name]


@pytest.mark.parametrize(
    ("name", "norms"),
    [
        ("vgg19", 16),
        ("vgg16", 13),
        ("vgg13", 10),
        ("vgg11", 8),
        ("densenet40", 39),
        ("resnet164", 163),
        ("resnet20", 19),
    ],
)
def test_every_batchnorm_is_a_site(name, norms):
    net = networks.build(name, width=0.25)
    found = {path for path, module in net.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert set(networks.prunable(net)) == found
    assert len(found) == norms


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_basic_blocks_are_pruned_inside(shortcut):
    """The BatchNorms that write to the residual stream are no sites: it keeps its width."""
    net = networks.build("basicresnet20", width=0.25, shortcut=shortcut)
    assert list(networks.prunable(net)) == [
        f"blocks.stage{stage}_{index}.norm1" for stage in (1, 2, 3) for index in (1, 2, 3)
    ]


def test_shortcut_a_has_no_parameters_and_b_projects():
    """He et al. (2016), section 3.3; B's 1x1 convolutions and BatchNorms at the two changes of width."""
    first, second = (sum(p.numel() for p in networks.build("basicresnet20", shortcut=s).parameters()) for s in "AB")
    assert second - first == 16 * 32 + 32 * 64 + 2 * (32 + 64)
    images = torch.randn(2, 4, 9, 9)
    padded = basicresnet.Padding(6, 2)(images)
    assert torch.equal(padded[:, :4], images[:, :, ::2, ::2])
    assert padded.shape == (2, 6, 5, 5)
    assert not padded[:, 4:].any()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"shortcut": "C"}, "unknown shortcut of basicresnet20 'C'"),
        ({"growth": 4}, "unknown option of basicresnet networks 'growth'"),
    ],
)
def test_an_option_that_is_not_one_is_refused(options, complaint):
    with pytest.raises(InputError, match=complaint):
        networks.build("basicresnet20", **options)


@pytest.mark.parametrize("value", [0, -3, 2.5, True, "12"])
def test_a_number_of_channels_is_one_or_more(value):
    with pytest.raises(InputError, match="growth of densenet10 is a number of channels"):
        networks.build("densenet10", growth=value)


@pytest.mark.parametrize("name", SMALL)
def test_sites_come_in_the_order_of_the_forward_pass(name):
    net = networks.build(name, **SMALL[name])
    called = []
    for path, norm in networks.prunable(net).items():
        norm.register_forward_hook(lambda *_, path=path: called.append(path))
    net(torch.zeros(2, 3, 16, 16))
    assert called == list(networks.prunable(net))


@pytest.mark.parametrize("name", SMALL)
def test_parts_make_the_feature_maps_that_the_classifier_averages(name):
    net, images = randomised(name), torch.randn(2, 3, 16, 16)
    read = []
    net.classifier.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    logits, maps = net(images), net.feature_maps(images)
    assert maps.min() >= 0
    assert torch.equal(maps.mean((2, 3)), read[0])
    assert torch.equal(net.classifier(read[0]), logits)
    x = images
    for part in net.parts():
        x = part(x)
    assert torch.equal(x, maps)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [8, 9, 15, 16, 33])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_image_from_eight_pixels_trains(name, size, channels):
    net = networks.build(name, num_classes=7, in_channels=channels, **SMALL[name])
    logits = net(torch.randn(2, channels, size, size))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_initial_scaling_factors_are_half_and_convolutions_he_by_fan_out(name):
    torch.manual_seed(0)
    net = networks.build(name)
    for norm in networks.prunable(net).values():
        assert (norm.weight == 0.5).all()
        assert (norm.bias == 0).all()
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() > 5000:
            expected = (2 / (module.kernel_size[0] ** 2 * module.out_channels)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", SMALL)
def test_spec_survives_json_and_rebuilds_the_shapes(name):
    net = networks.build(name, **SMALL[name])
    again = networks.from_spec(json.loads(json.dumps(net.spec)))
    shapes = {key: value.shape for key, value in net.state_dict().items()}
    assert {key: value.shape for key, value in again.state_dict().items()} == shapes


@given(width=st.floats(0.01, 2.0), growth=st.integers(1, 24))
def test_width_scales_every_layer_and_leaves_at_least_one_channel(width, growth):
    net = networks.build("densenet10", width=width, growth=growth)
    assert net.stem.out_channels == 2 * max(1, round(growth * width))
    sizes = [norm.num_features for norm in networks.prunable(networks.build("vgg11", width=width)).values()]
    assert sizes == [max(1, round(full * width)) for full in (64, 128, 256, 256, 512, 512, 512, 512)]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("vgg18", "vgg16 or vgg19"),
        ("resnet165", "resnet164 or resnet173"),
        ("densenet", "densenet40"),
        ("vgg", "vgg19"),
        ("alexnet", "vgg19"),
        ("basicresnet21", "basicresnet20 or basicresnet26"),
    ],
)
def test_unknown_network_names_the_nearest(name, hint):
    with pytest.raises(InputError, match=hint):
        networks.build(name)


def test_option_of_another_family_is_refused():
    with pytest.raises(InputError, match="growth"):
        networks.build("vgg11", growth=4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.2), (torch.float16, 0.05)])
@pytest.mark.parametrize("network", SMALL)
def test_a_network_computes_in_every_type_of_floating_point(network, dtype, tolerance):
    net, images = randomised(network), torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        expected = net(images)
        found = net.to(dtype)(images.to(dtype))
    assert found.dtype == dtype
    assert (found.float() - expected).abs().max() <= tolerance * expected.abs().max()
