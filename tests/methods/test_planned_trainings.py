"""Methods that train networks while they plan lose nothing to kills, wherever they come."""

import pytest

from slimming import cli, tensorfile
from slimming.training import loop
from slimming.training.flat import FlatParameters
from tiny import Work

KEYS = {
    "networks": {"basicresnet8": {"width": 0.25}},
    "ratios": [0.5],
    "compensate": False,
    "recalibrate": False,
    "schedule": {"epochs": 2},
}


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("method", "kills"),
    [("dcff", [7, 29]), ({"name": "dcff", "schedule": "authors"}, [29]), ("nat++", [7, 31])],
    ids=["dcff", "dcff-authors", "nat++"],
)
def test_kills_in_its_trainings_change_no_bit(method, kills, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SHARE", 1e9)  # save at every step
    whole, broken = (Work(tmp_path / name, prepared, methods=[method], **KEYS) for name in ("whole", "broken"))
    commands, update = {}, FlatParameters.update
    for work in (whole, broken):
        assert cli.main(work.train()) == 0
        commands[work] = [word for word in work.prune() if word not in ("--compensate", "--recalibrate")]
        commands[work] += ["--budget", "macs"] if "dcff" in str(method) else []
    for kill in kills:
        steps = iter(range(kill))

        def dying(*arguments, steps=steps):
            if next(steps, None) is None:
                raise Killed
            update(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(FlatParameters, "update", dying)
            with pytest.raises(Killed):
                cli.main(commands[broken])
        assert list((broken.checkpoints / "parts").iterdir())
    for work in (whole, broken):
        assert cli.main(commands[work]) == 0
        assert not (work.checkpoints / "parts").exists()
    files = [work.checkpoints / "pruned-0.5.safetensors" for work in (whole, broken)]
    assert tensorfile.sha256(files[0]) == tensorfile.sha256(files[1])
