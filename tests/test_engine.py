"""A machine without a GPU says so, and a replayed graph computes what direct calls compute."""

import pytest
import torch

from examples import randomised
from slimming.errors import InputError
from slimming.settings import Machine
from slimming.training import engine
from slimming.training.flat import FlatParameters


def differentiation(seed=0, **machine):
    net = randomised("resnet20", seed, num_classes=4).train()
    flat = FlatParameters(net, machine.get("precision", "fp32"))
    return engine.Differentiation(net, flat, None, torch.zeros(2, dtype=torch.float64), Machine(**machine))


def batches(sizes):
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        yield torch.randn(size, 3, 8, 8, generator=generator), torch.randint(4, (size,), generator=generator)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"cuda was asked for, but torch sees no GPU; set device: cpu$"):
        engine.set_up(Machine(device="cuda"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_replayed_graph_equals_direct_calls(precision, monkeypatch):
    captured = []

    def capture(compute):
        """Like a CUDA graph: `compute` is not run now, and later always with the tensors it has now."""
        captured.append(compute)
        return compute

    monkeypatch.setattr(engine, "capture", capture)
    direct = differentiation(precision=precision)
    replayed = differentiation(precision=precision)
    graph = engine.Graph(replayed.compute)
    for images, labels in batches([6, 6, 6, 6, 6, 2, 6, 2]):
        direct(images, labels)
        graph(images, labels)
        assert torch.equal(direct.flat.gradients, replayed.flat.gradients)
        assert direct.flat.gradients.any()
    assert torch.equal(direct.sums, replayed.sums)
    assert len(captured) == 1


def test_graph_serves_gpus_and_only_penalties_without_a_term_of_the_loss():
    def graph(device, penalty):
        net = randomised("vgg11")
        return engine.Differentiation(net, FlatParameters(net), penalty, torch.zeros(2), Machine(device=device)).graph

    assert graph("cuda", None) is not None
    assert graph("cuda", lambda: 0.0) is None
    assert graph("cpu", None) is None


def test_sums_hold_loss_and_hits_of_all_images():
    made = differentiation()
    made.net.eval()  # so that one batch's result does not depend on the others
    both = [*batches([5, 3])]
    for images, labels in both:
        made(images, labels)
    images, labels = (torch.cat(parts) for parts in zip(*both, strict=True))
    logits = made.net(images)
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    assert made.sums[0].item() == pytest.approx(loss.item(), rel=1e-5)
    assert made.sums[1] == (logits.argmax(1) == labels).sum()
