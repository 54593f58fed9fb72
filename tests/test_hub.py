"""A net as a folder for others: what is in it, its card, and its example on its own."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from command import ferlib, no_file_larger_than
from common import ROOT, astronaut, tiny_weights
from PIL import Image

from ferlib import EMOTIONS, Recognizer, nets
from ferlib.errors import FerlibError
from ferlib.files import recorded
from ferlib.nets.info import Info, Trained
from ferlib.nets.places import STORES
from ferlib.serving import hub

NAMES = {"README.md", "config.json", "example.py", "model.onnx", "net.onnx"}
# Runs a file where nothing can be imported but Python's own, and these.
ALONE = """
import runpy, sys
known = {"onnxruntime", "numpy", "PIL", *sys.argv[1].split(","), *sys.stdlib_module_names}
class Others:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in known and not name.startswith("__"):
            raise ModuleNotFoundError(f"not here: {name}", name=name)
sys.meta_path.insert(0, Others())
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    if not (STORES[0] / "ferplus-small.json").is_file():
        pytest.skip("no net is shipped")
    hub.write(folder, "ferplus-small")
    return folder


@pytest.fixture
def faces(tmp_path) -> list[Path]:
    whole = Image.fromarray(astronaut())
    whole.crop((160, 60, 290, 190)).save(tmp_path / "one.png")
    whole.crop((150, 40, 300, 190)).convert("L").resize((48, 48)).save(tmp_path / "two.png")
    return [tmp_path / "one.png", tmp_path / "two.png"]


def front(folder: Path) -> dict:
    """What a model page reads of the card."""
    start, text, *_ = (folder / "README.md").read_text().split("---\n", 2)
    assert start == ""
    return yaml.safe_load(text)


def test_the_folder_has_what_a_model_page_expects(shipped):
    assert {path.name for path in shipped.iterdir()} == NAMES | {"LICENSE"}
    assert (shipped / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    config = json.loads((shipped / "config.json").read_text())
    assert config["id2label"]["1"] == "happiness" and config["label2id"]["happiness"] == 1
    assert (config["image_size"], config["num_channels"]) == (48, 1)
    told = front(shipped)
    assert told["license"] == "mit" and told["pipeline_tag"] == "image-classification"
    assert "onnx" in told["tags"] and told["metrics"] == ["accuracy"]


def test_the_cards_figures_are_the_recorded_ones(shipped):
    runs = json.loads(recorded("ferplus-small.json").read_text())["runs"]
    wanted = {
        (run["split"], run["protocol"]): run["accuracy"]
        for run in runs
        if run["tta"] == "none" and run["precision"] == "float32"
    }
    ((told,),) = [front(shipped)["model-index"]]
    found = {}
    for row in told["results"]:
        (accuracy,) = (one["value"] for one in row["metrics"] if one["type"] == "accuracy")
        found[row["dataset"]["split"], row["dataset"]["name"].split(", ")[1]] = accuracy
    assert told["name"] == "ferplus-small" and found == wanted and len(wanted) == 4
    assert all(f"{value:.2%}" in (shipped / "README.md").read_text() for value in wanted.values())


def test_the_cards_links_lead_out_of_the_folder(shipped):
    text = (shipped / "README.md").read_text()
    targets = [part.split(")")[0] for part in text.split("](")[1:]]
    assert targets and all(target.startswith("https://") for target in targets if "/" in target)
    for target in targets:
        place = target.removeprefix(f"{hub.REPOSITORY}/blob/main/").split("#")[0]
        inside = (shipped / target).is_file() or target == hub.REPOSITORY
        assert inside or (ROOT / place).is_file(), target


def test_another_net_leaves_nothing_of_the_one_before(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (64, 48, 48), np.uint8)
    own = tmp_path / "model_store" / "mine"
    nets.save(nets.create("vgg-tiny", seed=1), own, Info.of(nets.find("vgg-tiny"), EMOTIONS))
    hub.write(tmp_path / "hub", "ferplus-small", pictures)
    hub.write(tmp_path / "hub", own)
    assert {path.name for path in (tmp_path / "hub").iterdir()} == NAMES
    (tmp_path / "hub" / "LICENSE").write_text("mine")
    hub.write(tmp_path / "hub", own)
    assert (tmp_path / "hub" / "LICENSE").read_text() == "mine"


@pytest.mark.parametrize(("name", "is_one"), [("ferplus-small", True), ("mine", False)])
def test_only_the_projects_own_nets_have_its_licence(name, is_one, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert hub._is_shipped(Path("model_store", name)) == is_one


def needed() -> str:
    """What onnxruntime's own import takes along, such as protobuf: asked of an empty process."""
    code = "import sys; import onnxruntime, numpy, PIL.Image; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    others = {"ferlib", "mxnet", "onnx", "cv2", "scipy", "skimage"}
    assert not loaded & others
    return ",".join(loaded - set(sys.stdlib_module_names))


def test_the_example_needs_onnxruntime_numpy_and_pillow_alone(shipped, faces, tmp_path):
    lines = (shipped / "example.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 24
    words = [sys.executable, "-I", "-c", ALONE, needed(), shipped / "example.py", *faces]
    run = subprocess.run(list(map(str, words)), cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    rows = [line.rsplit(" ", 2) for line in run.stdout.splitlines()]
    crops = [np.asarray(Image.open(face).convert("RGB")) for face in faces]
    wanted = Recognizer("ferplus-small", precision="float32").classify(crops)
    assert [name for name, *_ in rows] == list(map(str, faces))
    for (_, emotion, score), probabilities in zip(rows, wanted, strict=True):
        assert emotion == nets.Info().classes[probabilities.argmax()] == "happiness"
        assert float(score) == pytest.approx(probabilities.max(), abs=2e-3)


def test_the_example_can_import_nothing_else(tmp_path):
    """Otherwise the test above would say nothing."""
    (tmp_path / "a.py").write_text("import cv2")
    words = [sys.executable, "-I", "-c", ALONE, needed(), str(tmp_path / "a.py")]
    run = subprocess.run(words, capture_output=True, text=True)
    assert run.returncode and "not here: cv2" in run.stderr


def test_somebodys_own_net_says_what_is_known_and_what_is_not(faces, tmp_path):
    classes = ("cat", "Hündin")
    declared = nets.find("vgg-tiny", channels=3, classes=2)
    trained = Trained("ferlib train --net vgg-tiny", "2026-01-31", "pets", 1234)
    valid = {"split": "valid", "n": 80, "accuracy": 0.875, "balanced_accuracy": 0.75}
    info = replace(Info.of(declared, classes), trained=trained, valid=valid)
    nets.save(nets.create(declared, seed=1), tmp_path / "pets", info)
    done = ferlib("export", "--hub", tmp_path / "hub", "--weights", tmp_path / "pets")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "hub").iterdir()} == NAMES
    told, text = front(tmp_path / "hub"), (tmp_path / "hub" / "README.md").read_text("utf-8")
    assert told["license"] == "other" and "LICENSE" not in done.stdout
    assert told["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.875
    assert "1,234 pictures of pets" in text and "Hündin" in text and "87.50%" in text
    example = [sys.executable, tmp_path / "hub" / "example.py", *faces]
    run = subprocess.run(list(map(str, example)), capture_output=True, text=True, check=True)
    crops = [np.asarray(Image.open(face).convert("RGB")) for face in faces]
    wanted = Recognizer(tmp_path / "pets", precision="float32").classify(crops)
    for line, row in zip(run.stdout.splitlines(), wanted, strict=True):
        assert line.endswith(f"{classes[row.argmax()]} {row.max():.3f}")


def test_a_card_that_its_authors_have_changed_is_kept(tmp_path):
    weights, folder = tiny_weights(tmp_path), tmp_path / "hub"
    hub.write(folder, weights)
    hub.write(folder, weights)
    assert {path.name for path in folder.iterdir()} == NAMES
    card = (folder / "README.md").read_text("utf-8")
    (folder / "README.md").write_text(card + "Faces of our own staff.\n", "utf-8")
    assert folder / "README-before.md" in hub.write(folder, weights)
    assert (folder / "README.md").read_text("utf-8") == card
    assert (folder / "README-before.md").read_text("utf-8").endswith("Faces of our own staff.\n")


def test_the_card_of_a_net_passes_over_what_is_no_figure_and_no_text(tmp_path):
    weights = tiny_weights(tmp_path)
    info = replace(Info.read(Path(f"{weights}.json")), valid={"split": "valid", "accuracy": 0.5})
    info = replace(info, trained=Trained("ferlib train", data="caf\udce9", pictures=3))
    text = hub.card(weights, info)
    assert "## Accuracy" not in text and "3 pictures of caf?" in text
    for wrong in ({"valid": "abc"}, {"trained": {"pictures": "many"}}):
        with pytest.raises(FerlibError, match="does not describe a net"):
            Info.parse(json.dumps(json.loads(info.text()) | wrong), "net.json")


def test_a_recognizer_takes_the_folders_net(shipped):
    (mine,) = Recognizer(shipped / "net.onnx")(astronaut())
    (theirs,) = Recognizer("ferplus-small", precision="float32")(astronaut())
    assert (mine.box, mine.emotion) == (theirs.box, theirs.emotion)


def test_all_files_are_there_or_none(tmp_path):
    weights = tiny_weights(tmp_path)
    with no_file_larger_than(50_000), pytest.raises(FerlibError, match="cannot write"):
        hub.write(tmp_path / "hub", weights)
    assert not (tmp_path / "hub").exists()


def test_a_net_that_is_called_as_a_file_is(tmp_path):
    for path in tiny_weights(tmp_path).parent.glob("tiny*"):
        shutil.copy(path, tmp_path / path.name.replace("tiny", "model"))
    hub.write(tmp_path / "hub", tmp_path / "model")
    assert {path.name for path in (tmp_path / "hub").iterdir()} == NAMES
    assert os.path.getsize(tmp_path / "hub" / "model.onnx") > 1000
