"""`ferlib models`: sizes counted without weights, what the bench has measured, what is missing."""

import json
from argparse import Namespace

import pytest

from ferlib import nets
from ferlib.cli.models import models
from ferlib.errors import FerlibError
from ferlib.nets import catalogue, graph


@pytest.fixture
def unmeasured(monkeypatch):
    """As before the first row of the bench."""

    def nothing(name):
        raise FerlibError(f"no recorded result {name}")

    monkeypatch.setattr(catalogue, "recorded", nothing)


def row(net: str, labels: str, seed: int, accuracy: float) -> dict:
    """What of a row of the bench is told, as `contest.row` gives it."""
    test = {"published": {"accuracy": accuracy}, "without exact": {"accuracy": 0.1}}
    pace = {"images_per_s": 7.0, "ms": {"1": 70.0}}  # beside other work: not to be told
    return {"net": net, "labels": labels, "seed": seed, "test": test} | pace


@pytest.fixture
def measured(tmp_path, monkeypatch):
    rows = [
        row("vgg-tiny", "ferplus", 0, 0.80),
        row("vgg-tiny", "ferplus", 1, 0.82),
        row("vgg-tiny", "fer2013", 0, 0.65),
        row("vgg13", "fer2013", 0, 0.70),
        row("one that is no more", "fer2013", 0, 0.70),
    ]
    speeds = {"vgg-tiny": {"images_per_s": 510.2, "ms": {"1": 1.52, "64": 99.0}}}
    (tmp_path / "bench.json").write_text(json.dumps({"rows": rows}))
    (tmp_path / "zoo.json").write_text(json.dumps({"nets": speeds}))
    monkeypatch.setattr(catalogue, "recorded", lambda name: tmp_path / name)


@pytest.mark.parametrize("name", ["vgg-tiny", "vgg13", "deep_emotion", "repvgg"])
def test_sizes_are_those_of_nets_with_weights(name):
    net = nets.find(name)
    made = nets.create(net)
    wanted = {"parameters": nets.parameters(made), "multiply_adds": graph.multiply_adds(made, net)}
    assert catalogue.counted(net) == wanted


def test_accuracies_are_means_over_the_rows_and_speeds_those_of_a_quiet_machine(measured):
    found = catalogue.measured()
    pace = {"images_per_s": 510.2, "ms": 1.52}
    assert found["vgg-tiny"] == pace | {"accuracy": {"ferplus": 0.81, "fer2013": 0.65}}
    assert found["vgg13"] == {"accuracy": {"fer2013": 0.70}}


def lines(capsys) -> dict[str, list[str]]:
    """The table's cells after each network's input, by name."""
    table = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert len({len(line) for line in table}) == 1  # aligned
    return {line.split()[0]: line.split()[4:] for line in table}


def test_the_table_tells_what_was_measured_and_what_not(measured, capsys):
    found = models(Namespace())
    told = lines(capsys)
    assert list(found) == nets.names() and set(told) == {"network", *nets.names()}
    assert told["vgg-tiny"] == ["0.06", "11", "510", "1.5", "81.00%", "65.00%"]
    assert told["vgg13"] == ["8.76", "876", "-", "-", "-", "70.00%"]
    assert told["vgg13bn"][2:] == ["-"] * 4


def test_without_a_bench_there_are_sizes(unmeasured, capsys):
    found = models(Namespace())
    assert all("accuracy" not in net for net in found.values())
    assert lines(capsys)["vgg13lean"] == ["2.93", "216", *"----"]


def test_without_gluoncv_its_networks_say_so(unmeasured, monkeypatch, capsys):
    monkeypatch.setattr("ferlib.errors.find_spec", lambda name: None)
    found = models(Namespace())
    told = lines(capsys)
    assert told["resnet18"][:2] == told["resmasking"][:2] == ["needs", "gluoncv"]
    assert "pip install 'ferlib[zoo]'" in found["resnet18"]["needs"]
    assert "needs" not in found["repvgg"] and "parameters" not in found["resnet18"]
    json.dumps(found)
