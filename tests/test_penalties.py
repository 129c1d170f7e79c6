"""Penalties: exact values, and the properties that training and pruning rely on."""

from __future__ import annotations

import doctest
import math
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slimming import penalties
from slimming.errors import InputError

examples = settings(deadline=None, derandomize=True)

NAMES = ("none", "l1", "lp", "tl1", "mcp", "scad")
positive = st.floats(0.01, 10)


def documented():
    """The penalty of the page on how to add one."""
    page = Path(__file__).parents[1] / "docs/add-a-penalty.md"
    module = sys.modules["documented"] = types.ModuleType("documented")
    exec(re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[1], module.__dict__)
    return module.LogSum


LogSum = documented()
any_penalty = st.one_of(
    st.sampled_from(["none", "l1"]).map(penalties.get),
    st.floats(0.05, 0.95).map(lambda p: penalties.get("lp", p=p)),
    st.floats(0.05, 50).map(lambda a: penalties.get("tl1", a=a)),
    st.floats(0.05, 50).map(lambda a: penalties.get("mcp", a=a)),
    st.floats(2.05, 50).map(lambda a: penalties.get("scad", a=a)),
    st.floats(0.05, 50).map(lambda a: LogSum(a=a)),
)


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def objective(penalty, x, gamma, lam, step):
    """What prox minimises over x."""
    return (x - gamma) ** 2 / 2 + step * penalty.value(x, lam)


# Exact values


@pytest.mark.parametrize(
    ("penalty", "gamma", "lam", "expected"),
    [
        (penalties.get("l1"), [-0.5, 0.0, 2.0], 1e-4, [-1e-4, 0.0, 1e-4]),
        # s p sign(g) |g|^(p-1)
        (penalties.get("lp", p=0.5), [-0.25, 1e-2, 1e-4], 1e-4, [-1e-4, 5e-4, 5e-3]),
        (penalties.get("lp", p=0.75), [-16.0], 2.0, [-0.75]),
        # s a (a+1) sign(g) / (a+|g|)^2
        (penalties.get("tl1", a=1.0), [-0.5, 1.0], 1e-4, [-2 / 2.25 * 1e-4, 0.5e-4]),
        (penalties.get("tl1", a=0.5), [0.25], 3.0, [4.0]),
        # sign(g) (s - |g|/a) up to a s, else 0
        (penalties.get("mcp", a=4.0), [-6.0, 2.0, 8.0, 9.0], 2.0, [-0.5, 1.5, 0.0, 0.0]),
        (penalties.get("mcp", a=5000.0), [0.25], 1e-4, [0.5e-4]),
        # s sign(g) up to s, (a s sign(g) - g)/(a-1) up to a s, else 0
        (penalties.get("scad", a=3.0), [-1.0, 2.0, -3.0, 5.0, 6.0, 7.0], 2.0, [-2, 2, -1.5, 0.5, 0, 0]),
    ],
    ids=lambda case: getattr(case, "slug", None),
)
def test_subgradient_is_that_of_the_papers_code(penalty, gamma, lam, expected):
    torch.testing.assert_close(penalty.subgradient(tensor(*gamma), lam), tensor(*expected))


@pytest.mark.parametrize(
    ("penalty", "gamma", "lam", "expected"),
    [
        (penalties.get("none"), [-3.0, 0.0], 2.0, [0.0, 0.0]),
        (penalties.get("l1"), [-3.0, 0.0], 2.0, [6.0, 0.0]),
        (penalties.get("lp", p=0.5), [-9.0, 1e-6, 0.0], 2.0, [6.0, 2e-3, 0.0]),
        (penalties.get("tl1", a=3.0), [-1.0, 9.0], 2.0, [2.0, 6.0]),
        (penalties.get("mcp", a=4.0), [-4.0, 8.0, 80.0], 2.0, [6.0, 8.0, 8.0]),
        (penalties.get("scad", a=3.0), [-1.0, 2.0, 4.0, 6.0, 60.0], 2.0, [2.0, 4.0, 7.0, 8.0, 8.0]),
    ],
    ids=lambda case: getattr(case, "slug", None),
)
def test_value_is_the_integral_of_the_subgradient(penalty, gamma, lam, expected):
    torch.testing.assert_close(penalty.value(tensor(*gamma), lam), tensor(*expected))


@pytest.mark.parametrize(
    ("penalty", "gamma", "lam", "step", "expected"),
    [
        (penalties.get("none"), [-3.0, 0.1], 2.0, 5.0, [-3.0, 0.1]),
        (penalties.get("l1"), [-3.0, 0.9, 1.0], 2.0, 0.5, [-2.0, 0.0, 0.0]),
        # x = 1 solves x + step lam / (2 sqrt(x)) = gamma; the jump lies at 3/2 (step lam)^(2/3)
        (penalties.get("lp", p=0.5), [-1.25, 0.944, 0.0], 1.0, 0.5, [-1.0, 0.0, 0.0]),
        (penalties.get("lp", p=0.75), [1.375, 0.5], 0.5, 1.0, [1.0, 0.0]),
        # x = 1 solves x + step lam a (a+1) / (a+x)^2 = gamma; there is a jump at sqrt(2) - 1/2, then none
        (penalties.get("tl1", a=1.0), [-1.25, 0.914], 1.0, 0.5, [-1.0, 0.0]),
        (penalties.get("tl1", a=2.0), [1 + 1 / 6, 0.375], 1.0, 0.25, [1.0, 0.0]),
        (penalties.get("mcp", a=3.0), [0.9, -2.0, 3.0, 4.0], 1.0, 1.0, [0.0, -1.5, 3.0, 4.0]),
        (penalties.get("mcp", a=1.0), [1.99, -2.01], 1.0, 4.0, [0.0, -2.01]),
        (penalties.get("scad", a=4.0), [0.9, -1.5, 3.0, 5.0], 1.0, 1.0, [0.0, -0.5, 2.5, 5.0]),
        (penalties.get("scad", a=3.0), [3.4, -3.6], 1.0, 3.0, [0.4, -3.6]),
        (penalties.get("scad", a=3.0), [5.99, -6.01], 1.0, 9.0, [0.0, -6.01]),
    ],
    ids=lambda case: getattr(case, "slug", None),
)
def test_prox_equals_the_closed_form(penalty, gamma, lam, step, expected):
    torch.testing.assert_close(penalty.prox(tensor(*gamma), lam, step), tensor(*expected))


def test_defaults_reach_the_initial_scaling_factors():
    assert [penalties.get(name).slug for name in NAMES] == [
        "none",
        "l1",
        "lp-0.5",
        "tl1-1",
        "mcp-5000",
        "scad-5000",
    ]
    assert penalties.get("mcp").knee(1e-4) == penalties.get("scad").knee(1e-4) == 0.5


def test_knee_is_where_the_pull_ends():
    assert penalties.get("mcp", a=3).knee(1e-4) == penalties.get("scad", a=3).knee(1e-4) == 3 * 1e-4
    assert all(math.isinf(penalties.get(name).knee(1e-4)) for name in ("none", "l1", "lp", "tl1"))
    for name in ("mcp", "scad"):
        penalty = penalties.get(name, a=3)
        below, above = penalty.subgradient(tensor(2.9, 3.1), lam=1.0)
        assert below > 0
        assert above == 0


# Properties


@examples
@given(any_penalty, st.lists(st.floats(-1e3, 1e3), max_size=9), positive, positive)
def test_value_is_even_and_subgradient_and_prox_are_odd(penalty, gamma, lam, step):
    gamma = tensor(*gamma)
    assert torch.equal(penalty.value(-gamma, lam), penalty.value(gamma, lam))
    assert torch.equal(penalty.subgradient(-gamma, lam), -penalty.subgradient(gamma, lam))
    assert torch.equal(penalty.prox(-gamma, lam, step), -penalty.prox(gamma, lam, step))


@examples
@given(any_penalty, st.floats(1e-3, 1e2), positive)
def test_subgradient_is_the_slope_of_the_value(penalty, size, lam):
    gamma, tiny = tensor(size, -size), 1e-6 * size
    difference = (penalty.value(gamma + tiny, lam) - penalty.value(gamma - tiny, lam)) / (2 * tiny)
    torch.testing.assert_close(penalty.subgradient(gamma, lam), difference, rtol=1e-4, atol=1e-5)


@examples
@given(any_penalty, st.floats(1e-3, 1e2), positive)
def test_subgradient_agrees_with_autograd(penalty, size, lam):
    gamma = tensor(size, -size).requires_grad_()
    (gradient,) = torch.autograd.grad(penalty.value(gamma, lam).sum(), gamma)
    torch.testing.assert_close(penalty.subgradient(gamma.detach(), lam), gradient)


@examples
@given(any_penalty, positive)
def test_value_and_subgradient_are_finite_at_zero_at_denormals_and_at_huge_sizes(penalty, lam):
    for dtype in (torch.float32, torch.float64):
        limits = torch.finfo(dtype)
        gamma = torch.tensor([0, 5e-324, 1e-45, limits.smallest_normal, 1e-20, 1e-8, 1e8, limits.max], dtype=dtype)
        assert penalty.subgradient(gamma, lam)[0] == 0
        assert penalty.value(gamma, lam)[0] == 0
        assert penalty.subgradient(gamma, lam).isfinite().all()
        assert penalty.value(gamma / 1e3, lam).isfinite().all()  # lam max itself overflows


@examples
@given(any_penalty, positive, positive)
def test_nothing_else_than_gamma_decides_shape_dtype_and_nan(penalty, lam, step):
    for dtype in (torch.float32, torch.float64):
        for gamma in (
            torch.tensor(0.5, dtype=dtype),
            torch.empty(0, 3, dtype=dtype),
            torch.tensor([[1.0, math.nan, 0.0], [-2.0, 3.0, math.nan]], dtype=dtype).T,
        ):
            before = gamma.clone()
            for result in (
                penalty.value(gamma, lam),
                penalty.subgradient(gamma, lam),
                penalty.prox(gamma, lam, step),
            ):
                assert result.shape == gamma.shape
                assert result.dtype == dtype
                assert torch.equal(result.isnan(), gamma.isnan())
            assert torch.equal(gamma.nan_to_num(), before.nan_to_num())


# Proximal operators


@settings(examples, max_examples=300)
@given(any_penalty, st.lists(st.floats(0, 30), min_size=1, max_size=9), positive, st.floats(0.01, 60))
def test_prox_is_a_global_minimiser(penalty, sizes, lam, step):
    """No point of a grid over everything between 0 and gamma, refined around its best, costs less."""
    gamma = tensor(*sizes, *torch.linspace(0, 30, 13).tolist())
    share = torch.cat([torch.linspace(-0.1, 1.2, 1301), torch.logspace(-8, 0, 400)]).double().sort().values
    x = gamma[:, None] * share
    for _ in range(4):
        cost = objective(penalty, x, gamma[:, None], lam, step)
        lowest, best = cost.min(dim=1)
        low = x.gather(1, (best[:, None] - 1).clamp(min=0))
        high = x.gather(1, (best[:, None] + 1).clamp(max=x.shape[1] - 1))
        x = low + (high - low) * torch.linspace(0, 1, 101, dtype=torch.float64)
    mine = objective(penalty, penalty.prox(gamma, lam, step), gamma, lam, step)
    assert (mine <= lowest + 1e-12 * (1 + gamma**2)).all()


@examples
@given(any_penalty, positive, st.floats(0.01, 60))
def test_prox_is_monotone_and_lies_between_zero_and_gamma(penalty, lam, step):
    gamma = torch.linspace(-40, 40, 4001, dtype=torch.float64)
    shrunk = penalty.prox(gamma, lam, step)
    assert (shrunk.diff() >= -1e-12).all()
    assert (shrunk.abs() <= gamma.abs()).all()
    assert (shrunk * gamma >= 0).all()


@pytest.mark.parametrize(
    ("penalty", "step"),
    [
        (penalties.get("lp", p=0.5), 1.0),
        (penalties.get("lp", p=0.05), 1.0),
        (penalties.get("lp", p=2 / 3), 1.0),
        (penalties.get("lp", p=0.95), 1.0),
        (penalties.get("tl1", a=0.1), 1.0),
        (penalties.get("tl1", a=1.0), 1.0),
        (penalties.get("mcp", a=1.0), 4.0),
        (penalties.get("scad", a=3.0), 3.0),
        (penalties.get("scad", a=3.0), 9.0),
    ],
    ids=lambda case: getattr(case, "slug", None),
)
def test_prox_jumps_where_the_two_minima_tie(penalty, step):
    gamma = torch.linspace(0, 10, 100_001, dtype=torch.float64)
    shrunk = penalty.prox(gamma, 1.0, step)
    jump = int(shrunk.diff().argmax())
    lower, upper = shrunk[jump], shrunk[jump + 1]
    assert upper - lower > 0.02
    costs = objective(penalty, torch.stack([lower, upper]), gamma[jump], 1.0, step)
    assert abs(costs[1] - costs[0]) <= 2e-4 * (upper - lower)  # gamma is known to 1e-4


@examples
@given(st.floats(0, 30), positive)
def test_half_thresholding_agrees_with_newton(size, lam):
    gamma, half = tensor(size, 1.51 * lam ** (2 / 3)), penalties.get("lp", p=0.5)
    newton = penalties.get("lp", p=math.nextafter(0.5, 1))
    torch.testing.assert_close(half.prox(gamma, lam, 1.0), newton.prox(gamma, lam, 1.0), rtol=1e-12, atol=1e-14)


@examples
@given(any_penalty, st.lists(st.floats(-10, 10, width=32), max_size=9), positive, positive)
def test_prox_in_single_precision_is_the_double_one_rounded(penalty, gamma, lam, step):
    gamma = tensor(*gamma)
    assert torch.equal(penalty.prox(gamma.float(), lam, step), penalty.prox(gamma, lam, step).float())


@pytest.mark.parametrize("p", [1e-9, 0.1, 0.75, 0.99, 1 - 1e-9, math.nextafter(1, 0)])
def test_lp_prox_solves_its_equation_to_the_last_digits(p):
    """x - gamma + p x^(p-1) = 0, from the jump on."""
    jump = (2 - p) / (2 - 2 * p) * (2 - 2 * p) ** (1 / (2 - p))
    gamma = jump * (1 + torch.logspace(-15, 3, 2000, dtype=torch.float64))
    x = penalties.get("lp", p=p).prox(gamma, 1.0, 1.0)
    assert ((x - gamma + p * x ** (p - 1)).abs() <= 1e-14 * gamma).all()


def test_tl1_prox_is_finite_where_its_jump_sets_in():
    """The root is double at gamma = a / 2, step lam = a^2 / (2 (a+1)); rounding must not lose it."""
    for a in torch.linspace(0.1, 10, 500).tolist():
        gamma = a / 2 * (1 + torch.linspace(0, 1e-15, 9, dtype=torch.float64))
        assert (penalties.get("tl1", a=a).prox(gamma, a**2 / (2 * (a + 1)), 1.0) < 1e-6 * a).all()


@pytest.mark.parametrize("penalty", [*map(penalties.get, NAMES), penalties.get("lp", p=0.75)], ids=str)
def test_prox_without_strength_or_step_is_the_identity(penalty):
    gamma = tensor(-1e300, -0.5, 0.0, 5e-324, 1e-310, 0.3, 1e300)
    torch.testing.assert_close(penalty.prox(gamma, 0.0, 1.0), gamma, rtol=1e-15, atol=0)
    torch.testing.assert_close(penalty.prox(gamma, 1.0, 0.0), gamma, rtol=1e-15, atol=0)


# Limits and the floor


@pytest.mark.parametrize(
    ("near", "dtype"),
    [
        (penalties.get("tl1", a=1e9), torch.float64),
        (penalties.get("tl1", a=1e30), torch.float32),
        (penalties.get("lp", p=1 - 1e-9), torch.float64),
    ],
    ids=str,
)
def test_limit_is_l1(near, dtype):
    l1, gamma = penalties.get("l1"), tensor(-20.0, -0.7, -0.3, 0.0, 0.3, 0.51, 0.7, 20.0).to(dtype)
    for function in ("value", "subgradient"):
        torch.testing.assert_close(
            getattr(near, function)(gamma, 0.5), getattr(l1, function)(gamma, 0.5), rtol=1e-7, atol=1e-7
        )
    torch.testing.assert_close(near.prox(gamma, 0.5, 1.0), l1.prox(gamma, 0.5, 1.0), rtol=1e-6, atol=1e-6)


def test_lp_floor_changes_nothing_above_it():
    gamma, lp = tensor(1.001e-4, 1e-4, 1e-5, 1e-300), penalties.get("lp", p=0.5)
    assert lp.subgradient(gamma, 1.0).tolist() == pytest.approx([0.5 * 1.001e-4**-0.5, 50, 50, 50])


@pytest.mark.parametrize("p", [0.25, 0.5])
def test_lp_lets_descent_settle_near_zero(p):
    """SGD as in the paper, from small factors; without a floor they are thrown back to more than 0.1."""
    lp, generator = penalties.get("lp", p=p), torch.Generator().manual_seed(0)
    gamma = torch.nn.Parameter(torch.linspace(-1e-2, 1e-2, 256))
    optimiser = torch.optim.SGD([gamma], lr=0.1, momentum=0.9, weight_decay=1e-4)
    for lr in (0.1, 0.01, 0.001):
        optimiser.param_groups[0]["lr"] = lr
        for _ in range(600):
            noise = 1e-4 * torch.randn(256, generator=generator)
            gamma.grad = lp.subgradient(gamma.detach(), 1e-4) + noise
            optimiser.step()
    assert gamma.abs().max() < 5e-4


# Construction


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("tl2", {}, "unknown penalty 'tl2': did you mean 'tl1'?"),
        ("lp", {"p": 1.5}, r"lp: p must lie in \(0, 1\), got 1.5"),
        ("lp", {"p": 0}, r"lp: p must lie in \(0, 1\), got 0"),
        ("lp", {"p": 1}, r"lp: p must lie in \(0, 1\), got 1"),
        ("lp", {"p": math.nan}, "got nan"),
        ("lp", {"p": "0.5"}, "got '0.5'"),
        ("tl1", {"a": 0}, r"tl1: a must lie in \(0, inf\), got 0"),
        ("mcp", {"a": math.inf}, r"mcp: a must lie in \(0, inf\), got inf"),
        ("mcp", {"a": True}, "got True"),
        ("scad", {"a": 2}, r"scad: a must lie in \(2, inf\), got 2"),
        ("scad", {"aa": 3}, "unknown parameter of scad 'aa': did you mean 'a'?"),
        ("tl1", {"name": "l1"}, "unknown parameter of tl1 'name'"),
        ("l1", {"a": 1}, "l1: takes no parameters, got 'a'"),
    ],
)
def test_wrong_request_is_refused_in_one_line(name, parameters, message):
    with pytest.raises(InputError, match=message) as error:
        penalties.get(name, **parameters)
    assert "\n" not in str(error.value)


def test_registry_tells_the_parameters():
    assert {name: penalty.parameters() for name, penalty in penalties.registry().items()} == {
        "none": (),
        "l1": (),
        "lp": ("p",),
        "tl1": ("a",),
        "mcp": ("a",),
        "scad": ("a",),
    }


def test_slug_tells_parameters_apart():
    assert penalties.get("lp", p=0.75).slug == "lp-0.75"
    assert penalties.get("mcp", a=15000).slug == penalties.get("mcp", a=15000.0).slug == "mcp-15000"


def test_penalties_are_values():
    assert penalties.get("tl1", a=2) == penalties.get("tl1", a=2.0) != penalties.get("tl1", a=3)
    with pytest.raises(AttributeError):
        penalties.get("tl1").a = 3


def test_import_needs_no_torch():
    code = "import sys, slimming.penalties as p; p.get('lp', p=0.5); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_example_in_the_documentation_holds():
    assert doctest.testmod(penalties).failed == 0
    assert doctest.testmod(penalties).attempted > 0
