"""Variational pruning: the divergence's sign, the gradients of the stated objective, and what becomes of saliencies."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from examples import randomised, step
from slimming import methods, networks
from slimming.errors import InputError
from slimming.methods.base import Part, Step
from slimming.methods.variational import divergence, divergence_gradient
from slimming.training.flat import FlatParameters

WIDTHS = st.floats(1e-2, 2)
MEANS = st.floats(-2, 2)


@given(MEANS, WIDTHS)
def test_divergence_is_torchs_closed_form(mean, sigma):
    mean, sigma = torch.tensor(mean).double(), torch.tensor(sigma).double()
    posterior, prior = torch.distributions.Normal(mean, sigma), torch.distributions.Normal(0.0, sigma)
    expected = torch.distributions.kl_divergence(posterior, prior)
    assert divergence(mean, sigma).item() == pytest.approx(expected.item())
    assert divergence(mean, sigma) >= 0


@pytest.mark.parametrize(("mean", "sigma"), [(0.5, 0.5), (-1.0, 0.8), (0.1, 1.0)])
def test_divergence_is_the_mean_log_ratio_of_samples(mean, sigma):
    mean, sigma = torch.tensor(mean).double(), torch.tensor(sigma).double()
    posterior, prior = torch.distributions.Normal(mean, sigma), torch.distributions.Normal(0.0, sigma)
    torch.manual_seed(0)
    drawn = posterior.sample((400_000,))
    sampled = (posterior.log_prob(drawn) - prior.log_prob(drawn)).mean()
    assert divergence(mean, sigma).item() == pytest.approx(sampled.item(), abs=0.01)


@given(MEANS, WIDTHS)
def test_divergence_gradient_is_autograds(mean, sigma):
    mean = torch.tensor(mean, dtype=torch.float64, requires_grad=True)
    log_sigma = torch.tensor(sigma, dtype=torch.float64).log().requires_grad_()
    expected = torch.autograd.grad(divergence(mean, log_sigma.exp()), (mean, log_sigma))
    found = divergence_gradient(mean.detach(), log_sigma.detach().exp())
    assert [value.item() for value in found] == pytest.approx([value.item() for value in expected])


def test_one_step_descends_the_stated_objective():
    """Against autograd on gamma (x_hat + beta), gamma = mu + sigma eps, through a whole network."""
    kl, lr, images = 0.01, 0.1, torch.randn(16, 3, 8, 8)
    net = randomised("resnet20").train()
    reference = randomised("resnet20").train()
    flat = FlatParameters(net)
    method, at = methods.get("vcp", kl=kl, sigma=0.2), step(net, flat=flat)
    at.gamma.values.abs_().add_(0.1)
    reference.load_state_dict(net.state_dict())
    method.prepare(at)
    method.before_step(at)
    net(images).square().mean().backward()
    flat.collect()
    method.add_gradient(at)

    mean = at.gamma.values.clone().requires_grad_()
    beta = at.state["beta"].clone().requires_grad_()
    log_sigma = torch.full_like(mean, 0.2).log().requires_grad_()
    gamma = mean + log_sigma.exp() * at.state["noise"]
    norms = networks.prunable(reference)
    sizes = [norm.num_features for norm in norms.values()]
    parts = zip(norms, gamma.split(sizes), (gamma * beta).split(sizes), strict=True)
    values = {
        f"{site}.{leaf}": value for site, *both in parts for leaf, value in zip(("weight", "bias"), both, strict=True)
    }
    loss = torch.func.functional_call(reference, values, (images,)).square().mean()
    (loss + kl * divergence(mean, log_sigma.exp()).sum()).backward()
    torch.testing.assert_close(at.gamma.gradient, mean.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(at.shift.gradient, beta.grad, rtol=1e-3, atol=1e-5)
    moved = at.state["log_sigma"] - log_sigma.detach()
    torch.testing.assert_close(moved, -lr * log_sigma.grad, rtol=1e-3, atol=1e-5)


def test_between_steps_the_network_holds_the_mean_form():
    net = randomised("vgg11")
    method, at = methods.get("vcp"), step(net)
    at.gamma.values.abs_().add_(0.1)
    method.prepare(at)
    mean, beta = at.gamma.values.clone(), at.state["beta"].clone()
    method.before_step(at)
    assert not torch.equal(at.gamma.values, mean)  # sampled
    torch.testing.assert_close(at.shift.values, at.gamma.values * beta)
    method.add_gradient(at)
    assert torch.equal(at.gamma.values, mean)
    assert torch.equal(at.shift.values, beta)
    method.after_step(at)
    torch.testing.assert_close(at.shift.values, mean * beta)


def test_saliencies_shrink_where_the_data_do_not_need_them():
    """Twenty channels of which the loss needs ten, each near 1; the rest it does not look at."""
    needed = torch.arange(20) < 10
    gamma, shift, none = (
        Part(values, torch.zeros_like(values)) for values in (torch.full((20,), 0.5), torch.zeros(20), torch.zeros(0))
    )
    at = Step(nn.Module(), gamma, shift, none, {}, 0.0, 0.0, 2000, torch.Generator(), (3, 8, 8), lr=0.05)
    at.net.learned = {}
    method = methods.get("vcp", kl=1e-3)
    method.prepare(at)
    for number in range(at.steps):
        at.generator.manual_seed(number)
        method.before_step(at)
        gamma.gradient.copy_((gamma.values - 1) * needed)
        shift.gradient.zero_()
        method.add_gradient(at)
        for part in (gamma, shift):
            part.values.sub_(part.gradient, alpha=at.lr)
        method.after_step(at)
    method.finish(at)
    assert gamma.values[needed].min() > 0.5
    assert gamma.values[~needed].abs().max() < 0.01
    assert (at.net.learned["sigma"] > 0).all()


def test_scores_are_the_root_mean_square_of_the_saliency():
    net = randomised("vgg11")
    channels = sum(norm.num_features for norm in networks.prunable(net).values())
    net.learned["sigma"] = torch.linspace(0.1, 1, channels)
    scores = torch.cat([*methods.get("vcp").scores(net).values()])
    means = torch.cat([norm.weight.detach() for norm in networks.prunable(net).values()])
    drawn = means + net.learned["sigma"] * torch.randn(
        200_000 // channels * 10, channels, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(scores, drawn.square().mean(0).sqrt(), rtol=0.1, atol=0.01)


def test_a_network_without_posterior_is_refused():
    with pytest.raises(InputError, match="was not trained by it"):
        methods.get("vcp").scores(randomised("vgg11"))


@pytest.mark.parametrize("wrong", [{"kl": -1}, {"kl": float("nan")}, {"sigma": 0}, {"sigma": float("inf")}])
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(InputError, match=f"vcp: {next(iter(wrong))} must lie"):
        methods.get("vcp", **wrong)
