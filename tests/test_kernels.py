"""Every kernel computes what the plain operators compute, forward and backward."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from slimming.networks import kernels


def images(*shape, dtype=torch.bfloat16):
    torch.manual_seed(0)
    return torch.randn(shape).to(dtype).to(memory_format=torch.channels_last)


def run(function, *inputs):
    """The result and the gradients of `function`, in float32."""
    leaves = [value.clone().requires_grad_() for value in inputs]
    result = function(*leaves)
    torch.manual_seed(1)
    gradients = torch.autograd.grad(result, leaves, torch.randn(result.shape).to(result.dtype))
    return [value.detach().float() for value in (result, *gradients)]


# Each side of all rules: tiny and small maps, few and many outputs, few for many inputs; and sizes that divide nothing.
@pytest.mark.parametrize(
    ("inputs", "outputs", "size"),
    [(32, 32, 4), (8, 512, 4), (32, 32, 2), (96, 12, 8), (80, 5, 3), (16, 16, 8), (3, 7, 1), (41, 5, 9)],
)
def test_convolution_equals_the_plain_one(inputs, outputs, size):
    x, weight = images(4, inputs, size, size), images(outputs, inputs, 3, 3)
    made = run(kernels._Convolution.apply, x, weight)
    exact = run(lambda x, weight: functional.conv2d(x, weight, padding=1), x.float(), weight.float())
    for one, other in zip(made, exact, strict=True):
        assert (one - other).norm() <= 2**-8 * other.norm()  # one rounding to bfloat16


def test_convolution_without_a_wanted_image_gradient_gives_that_of_the_weight():
    x, weight = images(2, 3, 8, 8), images(4, 3, 3, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(kernels._Convolution.apply(x, weight).float().sum(), weight)
    expected = functional.conv2d(x.float().transpose(0, 1), torch.ones(1, 2, 8, 8), padding=1)[:, 0]
    torch.testing.assert_close(gradient.float(), expected.expand(4, 3, 3, 3), rtol=2**-7, atol=0.1)


def test_integer_relu_has_the_bits_of_relu():
    x = images(2, 8, 4, 4)
    x[0, :6, 0, 0] = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1e-40, -1e-40])
    made, plain = (run(function, x) for function in (lambda x: kernels._IntegerReLU.apply(x * 1), torch.relu))
    for one, other in zip(made, plain, strict=True):
        assert torch.equal(one.abs(), other.abs())  # of zero, either sign


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("large", [0, 10**9])
def test_norm_relu_is_relu_of_the_norm(dtype, training, large, monkeypatch):
    monkeypatch.setattr(kernels, "LARGE", large)
    x, norm, other = images(4, 8, 5, 5, dtype=dtype), nn.BatchNorm2d(8), nn.BatchNorm2d(8)
    made = run(lambda x: kernels.norm_relu(norm.train(training), x), x)
    plain = run(lambda x: torch.relu(other.train(training)(x)), x)
    assert all(torch.equal(one, two) for one, two in zip(made, plain, strict=True))
    assert torch.equal(norm.running_var, other.running_var)


def test_float32_and_evaluation_take_the_plain_path(monkeypatch):
    monkeypatch.setattr(kernels._Convolution, "apply", lambda *_: pytest.fail("not plain"))
    layer = kernels.Conv2d(32, 2, 3, padding=1, bias=False)
    layer(images(1, 32, 2, 2, dtype=torch.float32))
    layer.bfloat16().eval()(images(1, 32, 2, 2))
    with pytest.raises(pytest.fail.Exception):
        layer.train()(images(1, 32, 2, 2))
