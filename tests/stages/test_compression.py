"""What a method has while it plans: training images alone, and parts that outlive a kill."""

import dataclasses

import pytest
import torch

from examples import randomised
from slimming import cli, data, methods, pruning
from slimming.errors import InputError
from slimming.methods.base import Method
from slimming.pruning import Plan
from slimming.stages.compression import Work as Planning
from tiny import Work


@pytest.fixture
def planning(prepared, tmp_path):
    work = Work(tmp_path, prepared)
    return lambda: Planning(work.run, data.load(prepared), tmp_path, "parent", pruning.Budget())


def test_images_are_those_of_the_training_once_and_in_order(planning, prepared):
    dataset, work = data.load(prepared), planning()
    images, labels = (torch.cat(part) for part in zip(*work.images(100), strict=True))
    assert torch.equal(labels, dataset.train_labels)
    (plain, _), *_ = data.plain_batches(dataset, len(labels))
    assert torch.equal(images, plain)
    assert work.passes == pytest.approx(1)


def test_a_part_is_computed_once_and_its_cost_is_kept(planning):
    calls = []

    class Costly(Method):
        def plan(self, net, ratio, setting=None):
            def compute():
                calls.append(ratio)
                return {"sum": sum(images.sum() for images, _ in setting.images(500)).reshape(1)}

            made = setting.remember("gradients", compute)
            assert made["sum"].shape == (1,)
            return Plan.whole(net, ratio)

    net = randomised("vgg11")
    for work in (planning(), planning()):  # the second goes on where the first was killed
        for ratio in (0.2, 0.4):
            work.plan(Costly(), net, ratio)
        assert calls == [0.2]
        assert [work.spent[ratio]["passes"] for ratio in (0.2, 0.4)] == [1, 0]
    work.forget()
    planning().plan(Costly(), net, 0.4)
    assert calls == [0.2, 0.4]


def test_a_part_of_other_settings_is_made_again(planning):
    work, other = planning(), planning()
    assert work.remember("a", lambda: {"x": torch.ones(1)})["x"] == 1
    other.identity += " of another network"
    assert other.remember("a", lambda: {"x": torch.zeros(1)})["x"] == 0


def test_training_in_a_plan_resumes_with_the_same_bits(prepared, tmp_path, monkeypatch):
    nets = []
    steps = iter(range(30))  # into the second epoch

    def interrupt(*_):
        if next(steps, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr("slimming.training.loop.SAVE_SHARE", 1e9)
    for folder in ("whole", "broken"):
        (tmp_path / folder).mkdir()
        work = Work(tmp_path / folder, prepared)
        nets.append(randomised("vgg11", in_channels=1))
        for attempt in range(2 if folder == "broken" else 1):
            planning = Planning(work.run, data.load(prepared), tmp_path / folder, "parent", pruning.Budget())
            net = randomised("vgg11", in_channels=1)
            with monkeypatch.context() as patch:
                if folder == "broken" and not attempt:
                    patch.setattr(Method, "add_gradient", interrupt)
                    with pytest.raises(KeyboardInterrupt):
                        planning.train(net, methods.get("none"), 2, "warm-up")
                else:
                    planning.train(net, methods.get("none"), 2, "warm-up")
                    nets[-1] = net
        assert planning.passes == 2
    for name, value in nets[0].state_dict().items():
        assert torch.equal(value, nets[1].state_dict()[name])


def test_training_on_a_part_of_the_images_sees_no_others(planning, monkeypatch):
    work = planning()
    part, seen = torch.tensor([3, 5, 8, 13, 21, 34]), set()

    def look(self, step):
        seen.update(map(tuple, step.images.flatten(1).tolist()))

    monkeypatch.setattr(Method, "before_step", look)
    work.dataset = dataclasses.replace(work.dataset, padding=0)
    work.train(randomised("vgg11", in_channels=1), methods.get("none"), 2, "part", part)
    plain = torch.cat([images for images, _ in data.plain_batches(work.dataset, 500)])
    assert seen == set(map(tuple, plain[part].flatten(1).tolist()))
    assert work.passes == pytest.approx(2 * len(part) / len(plain))


def test_a_form_that_the_method_does_not_name_is_refused(planning):
    class Careless(Method):
        def plan(self, net, ratio, setting=None):
            plan = Plan.whole(net, ratio)
            plan.forms = {"features.2.conv": {"form": "svd", "rank": 2}}
            return plan

    with pytest.raises(InputError, match="writes layers in the form svd"):
        planning().plan(Careless(), randomised("vgg11"), 0.5)
    Careless.forms = ("svd",)
    assert planning().plan(Careless(), randomised("vgg11"), 0.5).forms
    assert Careless().modules() == (__name__, "slimming.networks.forms.svd")


def test_what_a_method_found_out_is_in_the_record(again, monkeypatch):
    def plan(self, net, ratio, setting=None):
        found = Plan.whole(net, ratio)
        found.found = {"curve": [1.0, ratio]}
        return found

    monkeypatch.setattr(Method, "plan", plan)
    assert cli.main(again.prune()) == 0
    assert again.draft("pruned-0.5")["compression"]["found"] == {"curve": [1.0, 0.5]}


def test_pruning_leaves_no_parts_and_records_what_it_took(made, again):
    assert cli.main(again.prune()) == 0
    assert not (again.checkpoints / "parts").exists()
    spent = made.draft("pruned-0.5")["compression"]
    assert spent.keys() == {"seconds", "passes", "ratio_of", "round_to"}
    assert (spent["passes"], spent["ratio_of"], spent["round_to"]) == (0, "channels", 1)
    assert made.draft("compensated-0.5")["compression"] == spent
