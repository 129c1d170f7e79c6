"""A network's parameters are one vector, whichever precision its convolutions compute in."""

import pytest
import torch

from examples import SMALL, randomised
from slimming import networks
from slimming.training.flat import FlatParameters


def backward(net):
    """Leave the gradients of some loss in the parameters, and return copies of them."""
    net.train()(torch.randn(4, 3, 12, 12)).square().sum().backward()
    return {key: value.grad.float() for key, value in net.named_parameters()}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_vectors_hold_values_and_gradients_part_by_part(name, precision):
    net = randomised(name).to(memory_format=torch.channels_last)
    before = {key: value.detach().clone() for key, value in net.named_parameters()}
    flat = FlatParameters(net, precision)
    gradients = backward(net)
    flat.collect()
    norms = networks.prunable(net)
    for part, suffix in (("gamma", "weight"), ("shift", "bias")):
        of_norms = [f"{norm}.{suffix}" for norm in norms]
        assert torch.equal(flat.parts[part].values, torch.cat([before[key] for key in of_norms]))
        assert torch.equal(flat.parts[part].gradient, torch.cat([gradients[key] for key in of_norms]))
    assert sum(len(part.values) for part in flat.parts.values()) == len(flat.values)
    flat.values.copy_(flat.gradients)
    flat.restore()
    for key, value in net.named_parameters():
        assert torch.equal(value, gradients[key]), key
        assert value.grad is None
        assert value.dtype == torch.float32
        assert value.untyped_storage().data_ptr() == flat.values.untyped_storage().data_ptr()


def test_convolutions_compute_with_rounded_weights_and_nothing_else_is_rounded():
    net = randomised("resnet20")
    flat = FlatParameters(net, "bf16")
    flat.values.mul_(1.5)
    flat.round()
    assert {value.dtype for value in net.parameters() if value.dim() == 4} == {torch.bfloat16}
    assert {value.dtype for value in net.parameters() if value.dim() != 4} == {torch.float32}
    weight = net.stem.weight.detach().clone()
    flat.restore()
    assert torch.equal(net.stem.weight.bfloat16(), weight)
    assert not torch.equal(net.stem.weight, weight.float())


def test_parameter_without_gradient_counts_as_zero():
    net = randomised("vgg11")
    flat = FlatParameters(net)
    flat.gradients.fill_(7)
    net.classifier(torch.ones(1, net.classifier.in_features)).sum().backward()
    flat.collect()
    assert not flat.parts["gamma"].gradient.any()
    assert flat.parts["weights"].gradient.sum() == net.classifier.weight.numel()


def test_update_is_stochastic_gradient_descent_with_momentum():
    net = randomised("vgg11")
    flat = FlatParameters(net)
    expected = flat.values.clone().requires_grad_()
    optimizer = torch.optim.SGD([expected], lr=0.1, momentum=0.9, weight_decay=1e-2)
    for _ in range(3):
        flat.gradients.normal_()
        expected.grad = flat.gradients.clone()
        optimizer.step()
        flat.update(0.1, 0.9, 1e-2)
    torch.testing.assert_close(flat.values, expected.detach(), rtol=1e-6, atol=1e-6)
