"""The engine computes what the conventional loop computes, and stops and continues without a trace."""

import copy
import dataclasses

import pytest
import torch
from benchmarks import conventional

from examples import SMALL, pictures
from slimming import data, methods, networks
from slimming.settings import Machine, Schedule
from slimming.training import loop

SEED = 3


def build(name):
    torch.manual_seed(SEED)
    return networks.build(name, num_classes=4, **SMALL[name])


def engine(net, dataset, method, epochs, resume, schedule=None, **machine):
    schedule = schedule or Schedule(epochs=epochs, batch_size=16)
    return loop.train(net, dataset, schedule, method, SEED, epochs, resume, "test", machine=Machine(**machine))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "method", [methods.get("none"), methods.get("l1", lam=1e-3), methods.get("lp", p=0.5, lam=1e-3)]
)
def test_twenty_steps_equal_the_conventional_loop(name, method, tmp_path):
    dataset, schedule = pictures(), Schedule(epochs=4, batch_size=20, lr=0.05)
    net = build(name)
    # In another layout convolutions add in another order, and twenty steps amplify the difference.
    plain = copy.deepcopy(net).to(memory_format=torch.channels_last)
    loop = conventional.Loop(plain, schedule, conventional.subgradient(method))
    for epoch in range(4):
        loop.optimizer.param_groups[0]["lr"] = 0.05 * 0.1 ** ((epoch >= 2) + (epoch >= 3))
        for images, labels in data.batches(dataset, 20, SEED, epoch):
            loop.step(images, labels)
    engine(net, dataset, method, 4, tmp_path / "resume", schedule)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(net.state_dict()[key], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_follows_float32_and_leaves_a_network_in_float32(name, tmp_path):
    dataset, nets = pictures(), {}
    for precision in ("fp32", "bf16"):
        nets[precision] = build(name)
        state = engine(nets[precision], dataset, methods.get("none"), 6, tmp_path / precision, precision=precision)
        assert state.history["test_accuracy"][-1] > 0.9, precision
    exact, rounded = (nets[precision].state_dict() for precision in ("fp32", "bf16"))
    assert all(value.dtype == exact[key].dtype for key, value in rounded.items())
    first = "stem.weight" if "stem.weight" in exact else "features.0.conv.weight"
    assert not torch.equal(exact[first], rounded[first])
    assert not torch.equal(rounded[first], rounded[first].bfloat16().float())  # the weights themselves are not rounded


class Killed(Exception):
    pass


def dying(step):
    """A method that kills the training before its given step."""

    class Dying(methods.Method):
        def add_gradient(self, _, left=[step]):  # noqa: B006 (the list is the countdown)
            if left[0] == 0:
                raise Killed
            left[0] -= 1

    return Dying()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    ("step", "precision"),
    [(1, "fp32"), (6, "bf16"), (7, "fp32"), (9, "bf16"), (20, "fp32")],  # seven steps an epoch
)
def test_interrupted_training_continues_with_the_same_bits(name, step, precision, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SHARE", 1e9)  # save at every step
    dataset = pictures()
    unbroken, broken = build(name), build(name)
    whole = engine(unbroken, dataset, methods.get("none"), 3, tmp_path / "a", precision=precision)
    with pytest.raises(Killed):
        engine(broken, dataset, dying(step), 3, tmp_path / "b", precision=precision)
    continued = build(name)
    state = engine(continued, dataset, methods.get("none"), 3, tmp_path / "b", precision=precision)
    assert all(torch.equal(value, continued.state_dict()[key]) for key, value in unbroken.state_dict().items())
    assert state.history == whole.history


def test_state_of_other_settings_or_a_damaged_one_is_not_continued(tmp_path, capsys):
    dataset, net = pictures(), build("vgg11")
    (tmp_path / "resume").write_bytes(b"not a state")
    engine(net, dataset, methods.get("none"), 1, tmp_path / "resume")
    assert "starting over" in capsys.readouterr().err
    schedule = Schedule(epochs=1, batch_size=16)
    loop.train(net, dataset, schedule, methods.get("none"), SEED, 1, tmp_path / "resume", "another")
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("epochs", "cuts"), [(160, (80, 120)), (20, (10, 15)), (90, (45, 67)), (101, (50, 75)), (15, (7, 11))]
)
def test_learning_rate_is_cut_at_half_and_three_quarters_for_every_length(epochs, cuts):
    rates = [loop.learning_rate(Schedule(), epoch, epochs) for epoch in range(epochs)]
    assert [epoch for epoch in range(1, epochs) if rates[epoch] < rates[epoch - 1]] == list(cuts)
    assert rates[0] == 0.1
    assert rates[-1] == pytest.approx(0.001)


@pytest.mark.parametrize(("epochs", "rates"), [(1, [0.1]), (2, [0.1, 0.001])])
def test_the_first_epoch_has_the_whole_learning_rate(epochs, rates):
    assert [loop.learning_rate(Schedule(), epoch, epochs) for epoch in range(epochs)] == pytest.approx(rates)


def test_a_last_batch_of_one_image_joins_the_one_before(tmp_path):
    dataset = pictures()
    first = {"train_images": dataset.train_images[:33], "train_labels": dataset.train_labels[:33]}
    dataset = dataclasses.replace(dataset, **first)
    # VGG's maps shrink to one pixel here, of which BatchNorm cannot normalise a single one.
    state = engine(build("vgg11"), dataset, methods.get("none"), 1, tmp_path / "resume")
    assert [len(labels) for _, labels in data.batches(dataset, 16, SEED, 0)] == [16, 17]
    assert len(state.history["loss"]) == 1


def test_penalty_drives_scaling_factors_down(tmp_path):
    dataset, means = pictures(), {}
    for method in (methods.get("none"), methods.get("l1", lam=0.02)):
        net = build("vgg11")
        engine(net, dataset, method, 4, tmp_path / method.slug)
        means[method.slug] = torch.cat(list(method.scores(net).values())).mean().item()
    assert means["l1"] < 0.8 * means["none"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_loss_that_is_not_finite_stops_with_the_epochs_before(precision, tmp_path):
    schedule = Schedule(epochs=3, batch_size=16, lr=1e30)
    with pytest.raises(loop.DivergedError, match="not finite in epoch 1 of 3") as caught:
        engine(build("vgg11"), pictures(), methods.get("none"), 3, tmp_path / "resume", schedule, precision=precision)
    assert caught.value.history["loss"] == []


@pytest.mark.parametrize(("every", "tested"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3, 5]), (9, [5])])
def test_epochs_without_a_test_say_none_and_train_alike(every, tested, tmp_path):
    nets, states = zip(*(epochs_tested(each, tmp_path / f"{each}") for each in (1, every)), strict=True)
    always, sometimes = (state.history for state in states)
    for key in ("lr", "loss", "accuracy"):
        assert sometimes[key] == always[key]
    for key in ("test_loss", "test_accuracy"):
        expected = [value if epoch in tested else None for epoch, value in enumerate(always[key], 1)]
        assert sometimes[key] == expected
    assert all(map(torch.equal, *(net.state_dict().values() for net in nets)))


def epochs_tested(every, resume):
    net, schedule = build("vgg11"), Schedule(epochs=5, batch_size=25, evaluate_every=every)
    return net, engine(net, pictures(), methods.get("none"), 5, resume, schedule)


def test_seeds_differ_and_repeat(tmp_path):
    def weights(seed):
        torch.manual_seed(0)
        net = networks.build("vgg11", num_classes=4, width=0.125)
        schedule = Schedule(epochs=1, batch_size=16)
        loop.train(net, pictures(), schedule, methods.get("none"), seed, 1, tmp_path / "r", str(seed))
        (tmp_path / "r").unlink(missing_ok=True)
        return torch.cat([value.flatten() for value in net.state_dict().values()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
