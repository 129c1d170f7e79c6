"""Estimates of a run's cost follow the networks' true sizes and the most similar measured speed."""

import pytest

from slimming import costs, methods, networks, study
from slimming.costs import Speed
from slimming.measuring import cost

KEYS = {"name": "s", "methods": ["none"], "seeds": [1], "ratios": [0.5]}


def run(network, dataset="cifar10", settings=None, **keys):
    asked = KEYS | {"datasets": {dataset: keys.pop("data", {})}, "networks": {network: settings or {}}} | keys
    (found,) = study.parse(asked, "study").runs()
    return found


@pytest.mark.parametrize(
    "name", ["vgg11", "vgg13", "vgg16", "vgg19", "densenet10", "densenet22", "resnet20", "basicresnet56"]
)
def test_size_of_a_full_network_is_exact(name):
    found = cost.count(networks.build(name), (3, 32, 32))
    assert costs.size(run(name)) == pytest.approx((found["parameters"], found["macs"]), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "settings", "size"),
    [("vgg11", {"width": 0.5}, 32), ("resnet20", {"width": 0.5}, 16), ("densenet22", {"growth": 6}, 32)],
)
def test_size_of_another_network_is_near(name, settings, size):
    options = {key: value for key, value in settings.items()}
    found = cost.count(networks.build(name, **options), (3, size, size))
    estimate = costs.size(run(name, settings=settings, data={"image_size": size}))
    assert estimate == pytest.approx((found["parameters"], found["macs"]), rel=0.35)


def test_speed_is_that_of_the_most_similar_network_on_the_device():
    asked = run("vgg19")
    macs = costs.size(asked)[1]
    speeds = [
        Speed("cpu", "vgg19", macs, 10.0),
        Speed("cuda", "densenet40", macs, 500.0),
        Speed("cuda", "vgg16", macs / 2, 1000.0),
        Speed("cuda", "vgg19", 4 * macs, 100.0),
    ]
    expected = [("vgg19", 100.0), ("vgg16", 500.0), ("densenet40", 500.0)]
    for name, speed in expected:
        assert costs.images_per_second(asked, "cuda", speeds) == speed
        speeds = [row for row in speeds if (row.device, row.network) != ("cuda", name)]
    assert costs.images_per_second(asked, "cuda", speeds) is None
    assert costs.training_seconds(asked, 3, "cpu", speeds) == 3 * 60_000 / 10


def test_requests_grow_with_network_data_set_and_attempt():
    small, large = run("vgg11", "digits", {"width": 0.25}), run("vgg19", "svhn")
    assert costs.memory(small) < costs.memory(large)
    assert costs.memory(small, attempt=3) == 3 * costs.memory(small)
    assert costs.minutes(small, 15) < costs.minutes(small, 15, attempt=2) < costs.minutes(large, 20)
    assert costs.minutes(large, 160, attempt=9) == costs.LONGEST


def test_pruning_asks_for_the_time_of_the_methods_data_passes(monkeypatch):
    asked, attempts = run("vgg11", "digits", {"width": 0.25}), (1, 2)
    assert [costs.pruning_minutes(asked, 5, attempt) for attempt in attempts] == [60, 120]
    monkeypatch.setattr(type(methods.get("none")), "passes", 20.0)
    found = [costs.pruning_minutes(asked, 5, attempt) for attempt in attempts]
    assert found == [50 * attempt + costs.minutes(asked, 100, attempt) for attempt in attempts]
    assert found[0] > 60
    monkeypatch.setattr(type(methods.get("none")), "trainings", 2.0)
    more = asked.schedule.epochs * 2 * 5
    assert costs.pruning_minutes(asked, 5) == 50 + costs.minutes(asked, 100 + more)


@pytest.mark.parametrize("family", networks.families())
def test_speeds_are_known_of_every_family(family):
    """Of one that was never measured, that of the most similar network."""
    (near,) = {f"{family}{depth}" for depth in networks.families()[family].depths[:1]}
    assert costs.images_per_second(run(near), "cpu", costs.shipped()) > 0


def test_speeds_are_shipped_of_networks_that_there_are():
    for speed in costs.shipped():
        networks.parse(speed.network)


def test_a_family_that_says_no_sizes_is_counted(monkeypatch):
    said = networks.families()["vgg"]
    monkeypatch.setattr(networks, "families", lambda: {"vgg": said._replace(sizes={})})
    assert costs.size(run("vgg11")) == said.sizes[11]
