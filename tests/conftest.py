"""What several test files share."""

import os
import subprocess

import pytest

# Two processes of tests on two cores, each with its share of threads: MXNet's would spin else.
if os.environ.get("PYTEST_XDIST_WORKER"):
    count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // count)))


@pytest.fixture
def tmpfs(tmp_path):
    """A mounted disk of 200 kB, to be filled; skipped where mounting is not allowed."""
    folder = tmp_path.parent / (tmp_path.name + "-disk")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The prefix of a net that answers anything."""
    from common import any_weights

    return any_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def mar(weights, tmp_path_factory):
    """An archive of that net, or of the `weights` of the file that asks."""
    from ferlib.serving import archive

    return archive.pack(weights, tmp_path_factory.mktemp("store") / "fer.mar")


@pytest.fixture(scope="session")
def many_drawn():
    """2,000 drawn faces with votes, as `sample.sample` gives them: drawing takes seconds."""
    from ferlib.data import sample

    return sample.sample((1600, 200, 200), seed=3)


@pytest.fixture(scope="session")
def drawn_splits(many_drawn):
    """The same as two data sets: to learn from, and held out, without what occurs in both."""
    from ferlib.data.dataset import Dataset

    whole = Dataset(many_drawn.pictures, many_drawn.votes, source="drawn faces")
    new = many_drawn.first == range(len(whole))
    return whole.take(many_drawn.usage == 0), whole.take(new & (many_drawn.usage > 0))


@pytest.fixture(scope="session")
def learnt(drawn_splits, tmp_path_factory):
    """A small net that has learnt the drawn faces: (prefix, log). Copy it to write beside it.

    From unmoved pictures, small ones at first: that takes seconds, as no other way does.
    """
    from ferlib import nets, training
    from ferlib.data.augment import NONE

    learn, held_out = drawn_splits
    how = {"epochs": 4, "batch_size": 16, "lr": 0.1, "grow": ((0.5, 2 / 3),), "augmentation": NONE}
    recipe = training.Recipe(net="vgg-tiny", precision="float32", **how)
    net, log = training.fit(learn, held_out.take(range(60)), recipe, progress=False)
    prefix = tmp_path_factory.mktemp("learnt") / "net"
    info = nets.Info.of(nets.find(recipe.net))
    nets.save(net, prefix, training.described(net, info, held_out, recipe.seed))
    return str(prefix), log


@pytest.fixture
def own_nets(monkeypatch):
    """What is registered in a test is gone after it."""
    from ferlib.nets import registry

    registry.names()  # those of the zoo are there first
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
