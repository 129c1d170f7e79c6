"""Every method keeps the contract of methods.base at its default parameters, and refuses what it does not know."""

import inspect

import pytest
import torch

from examples import randomised, step_of
from slimming import methods, penalties
from slimming.errors import InputError

DEFAULTS = sorted(methods.registry())


def test_every_penalty_is_a_method():
    assert set(methods.registry()) >= set(penalties.registry())


@pytest.mark.parametrize("name", sorted(penalties.registry()))
def test_a_penalty_ranks_by_the_size_of_scaling_factors(name):
    net = randomised("vgg11")
    for site, scores in methods.get(name).scores(net).items():
        assert torch.equal(scores, net.get_submodule(site).weight.detach().abs())


@pytest.mark.parametrize("name", sorted(penalties.registry()))
def test_a_penalty_shrinks_and_never_grows(name):
    gamma = torch.tensor([-2.0, -1e-6, 0.0, 1e-6, 0.5, 2.0])
    step = step_of(gamma.clone())
    methods.get(name).add_gradient(step)
    assert torch.equal(step.gamma.values, gamma)
    assert (step.gamma.gradient * gamma.sign() >= 0).all()
    assert step.gamma.gradient[2] == 0


@pytest.mark.parametrize("name", sorted(penalties.registry().keys() - {"none"}))
def test_a_penalty_adds_its_subgradient(name):
    step = step_of(torch.linspace(-1, 1, 9))
    step.gamma.gradient.fill_(10.0)
    methods.get(name, lam=0.01).add_gradient(step)
    expected = 10 + penalties.get(name).subgradient(step.gamma.values, 0.01)
    assert torch.equal(step.gamma.gradient, expected)
    assert (expected - 10).abs().max() > 0


@pytest.mark.parametrize(
    ("name", "parameters", "slug"),
    [
        ("none", {}, "none"),
        ("l1", {"lam": 0.5}, "l1"),
        ("lp", {"p": 0.5}, "lp-0.5"),
        ("lp", {"p": 0.75}, "lp-0.75"),
        ("tl1", {"a": 1}, "tl1-1"),
        ("mcp", {"a": 200.0}, "mcp-200"),
        ("scad", {}, "scad-5000"),
    ],
)
def test_slug_names_the_method_with_its_parameters(name, parameters, slug):
    assert methods.get(name, **parameters).slug == slug


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("l11", {}, "unknown method 'l11': did you mean 'l1'"),
        ("tl1", {"lamda": 1.0}, "unknown parameter of tl1 'lamda': did you mean 'lam'"),
        ("l1", {"lamda": 1.0}, "unknown parameter of l1 'lamda': did you mean 'lam'"),
        ("lp", {"q": 0.5}, "unknown parameter of lp 'q': Known: lam, p"),
        ("lp", {"p": 1.0}, r"lp: p must lie in \(0, 1\), got 1.0"),
        ("lp", {"p": 0.0}, r"lp: p must lie in \(0, 1\), got 0.0"),
        ("scad", {"a": 2}, r"scad: a must lie in \(2, inf\), got 2"),
        *(
            ("l1", {"lam": lam}, r"l1: lam must lie in \[0, inf\), got")
            for lam in (-1e-4, float("inf"), float("nan"), "1e-4x", None, True)
        ),
    ],
)
def test_bad_names_and_values_are_refused(name, parameters, message):
    with pytest.raises(InputError, match=message):
        methods.get(name, **parameters)


@pytest.mark.parametrize("name", ["mcp", "scad"])
def test_a_knee_below_the_initial_scaling_factors_warns(name):
    (caution,) = methods.get(name, a=499.0, lam=1e-3).cautions(0.5)
    assert f"{name}-499 with lam=0.001 cannot act" in caution
    assert "0.499" in caution
    assert "\n" not in caution
    assert methods.get(name, a=501.0, lam=1e-3).cautions(0.5) == []


@pytest.mark.parametrize(("name", "parameter"), [("l1", "lam"), ("mcp", "lam")])
def test_study_learns_which_methods_take_a_strength(name, parameter):
    assert methods.takes(name, parameter)
    assert not methods.takes("none", parameter)
    assert not methods.takes("no such method", parameter)


def test_no_method_is_named_outside_its_module():
    for factory in methods.registry().values():
        assert inspect.getmodule(getattr(factory, "func", factory)).__name__.startswith("slimming.methods.")
