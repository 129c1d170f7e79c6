"""Forms that are cheaper operations compute what their dense weight does, and take over what they can."""

import pytest
import torch

from examples import randomised
from slimming import checkpoints
from slimming.errors import InputError
from slimming.networks import forms
from slimming.networks.kernels import Conv2d

LAYERS = {
    "3x3": lambda: Conv2d(6, 6, 3, padding=1, bias=False),
    "3x3, stride 2, bias": lambda: Conv2d(6, 6, 3, stride=2, padding=1),
    "5x5": lambda: Conv2d(6, 6, 5, padding=2, bias=False),
    "1x1": lambda: Conv2d(6, 6, 1, bias=False),
}
OPERATIONS = [
    {"form": "null"},
    {"form": "pooling", "size": 1},
    {"form": "pooling", "size": 3},
    {"form": "smaller", "size": 1},
    {"form": "smaller", "size": 3},
    {"form": "separable"},
    {"form": "separable", "dilation": 2},
    {"form": "bank", "outputs": 9},
    {"form": "bank", "inputs": 8},
]


def written(layer, form):
    torch.manual_seed(0)
    plain, settings = LAYERS[layer](), dict(form)
    made = forms.registry()[settings.pop("form")](plain, **settings)
    made.fit(plain.weight.detach())
    return plain, made


KERNELS = {"3x3": 3, "3x3, stride 2, bias": 3, "5x5": 5, "1x1": 1}
FIT = {"pooling": lambda size, kernel: size in (1, kernel), "smaller": lambda size, kernel: size <= kernel}


@pytest.mark.parametrize(
    ("layer", "form"),
    [
        pytest.param(layer, form, id=f"{layer} {form}")
        for layer, kernel in KERNELS.items()
        for form in OPERATIONS
        if "size" not in form or FIT[form["form"]](form["size"], kernel)
    ],
)
def test_an_operation_is_the_convolution_with_its_dense_weight(layer, form):
    plain, made = written(layer, form)
    images = torch.randn(2, 6, 9, 8)
    assert torch.allclose(made(images), made.plain()(images), atol=1e-5)
    assert made(images).shape == plain(images).shape


@pytest.mark.parametrize("layer", LAYERS)
def test_a_weight_that_the_form_holds_is_taken_over_exactly(layer):
    plain, _ = written(layer, {"form": "null"})
    separable = forms.registry()["separable"](plain)
    weight = torch.randn(6, 6, 1, 1) * torch.randn(1, 6, *plain.kernel_size)
    separable.fit(weight)
    assert torch.allclose(separable.dense(), weight, atol=1e-6)
    small = forms.registry()["smaller"](plain, size=1)
    small.fit(plain.weight.detach())
    middle = plain.kernel_size[0] // 2
    assert torch.equal(small.dense()[:, :, middle, middle], plain.weight[:, :, middle, middle])
    bank = forms.registry()["bank"](plain, outputs=11, inputs=7)
    bank.fit(plain.weight.detach())
    assert torch.equal(bank.dense(), plain.weight)


def test_what_does_not_fit_is_refused_naming_the_layer():
    net = randomised("vgg11")
    for form, words in (
        ({"form": "pooling", "size": 3}, "as many outputs as inputs"),
        ({"form": "smaller", "size": 2}, "does not fit"),
        ({"form": "smaller", "size": 5}, "does not fit"),
        ({"form": "separable", "dilation": 3}, "dilation must be 1 or 2"),
        ({"form": "bank", "outputs": 1}, "at least the layer's"),
    ):
        with pytest.raises(InputError, match=rf"^features\.2\.conv: form {form['form']}: .*{words}"):
            forms.write(net, {"features.2.conv": form})


def test_a_network_of_cheaper_operations_can_be_stored(tmp_path):
    net = randomised("basicresnet14")
    paths = [f"blocks.stage1_{block}.conv{place}" for block in (1, 2) for place in (1, 2)]
    some = dict(zip(paths, ({"form": "null"}, *OPERATIONS[2:7:2]), strict=True))
    forms.write(net, some)
    checkpoints.save(tmp_path / "x", net, {})
    loaded, _ = checkpoints.load(tmp_path / "x")
    images = torch.randn(2, 3, 12, 12)
    assert torch.equal(net.eval()(images), loaded.eval()(images))
    exported = torch.export.export(net, (images,)).module()
    assert torch.allclose(net(images), exported(images), atol=1e-5)
