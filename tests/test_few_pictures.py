"""What docs/own-data.md shows with few pictures of scikit-image: from a CSV to an archive."""

import json
import re
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from command import ferlib
from common import ROOT

from ferlib import nets
from ferlib.serving import handler

CLASSES = ("face", "no face")
PAGE = (ROOT / "docs" / "own-data.md").read_text()
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """few/ as the page's code writes it, and what its commands make there."""
    pytest.importorskip("skimage")
    here = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        (code,) = [c for c in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "lfw_subset" in c]
        exec(code, {})
        for line in re.findall(r"^ferlib (.*few/.*)$", PAGE, re.M):
            words = line.split("#")[0].split()
            run = ferlib(*words, *(["--json"] if words[0] == "evaluate" else []))
            assert run.returncode == 0, run.stderr
            (here / f"{words[0]}.txt").write_text(run.stdout)
    return here


def test_ten_of_each_are_enough_for_frozen_features(folder):
    told = json.loads((folder / "evaluate.txt").read_text().splitlines()[-1])
    assert told["n"] == 140 and told["counts"] == dict.fromkeys(CLASSES, 70)
    assert told["accuracy"] > 0.93  # 0.971 where this was measured


def test_only_the_last_layer_has_learnt(folder):
    mine, info = nets.load(folder / "few" / "net")
    shipped, _ = nets.load(nets.find_weights())
    assert info.classes == CLASSES and info.trained.pictures == 20
    others = shipped.collect_params()
    same = {
        name: value.shape == others[name].shape
        and np.array_equal(value.data().asnumpy(), others[name].data().asnumpy())
        for name, value in mine.collect_params().items()
    }
    assert {name for name, kept in same.items() if not kept} == {
        "vgg13lean_dense0_weight",
        "vgg13lean_dense0_bias",
    }


def test_the_archive_answers_with_its_classes(folder, monkeypatch):
    """As Multi Model Server asks it, without the server."""
    zipfile.ZipFile(folder / "few" / "faces.mar").extractall(folder / "unpacked")
    monkeypatch.setattr(handler, "_recognizer", None)
    context = SimpleNamespace(
        system_properties={"model_dir": str(folder / "unpacked")},
        metrics=SimpleNamespace(add_time=lambda *_, **__: None),
        set_response_content_type=lambda *_: None,
        set_response_status=lambda *_: None,
    )
    handler.handle(None, context)
    rows = [line.split(",") for line in (folder / "few" / "test.csv").read_text().splitlines()[1:]]
    asked = [{"body": (folder / "few" / name).read_bytes()} for name, _ in rows[::7]]
    right = 0
    for answer, (_, truth) in zip(handler.handle(asked, context), rows[::7], strict=True):
        found = json.loads(answer)
        one = (found["faces"] or [found["whole_picture"]])[0]
        assert set(one["scores"]) == set(CLASSES)
        right += one["emotion"] == truth
    assert right >= 0.9 * len(asked)
