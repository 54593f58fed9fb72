"""Other data sets: every layout as it is published, drawn faces in real files, and damaged ones."""

import csv
import json
import os
import re
import shutil
import unicodedata
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import published
import pytest
from command import ferlib, mistake
from common import astronaut, tiny_weights
from PIL import Image

from ferlib import EMOTIONS, Recognizer, nets
from ferlib.data import cartoon, dataset, fer2013, folders, images, labels
from ferlib.data.dataset import Dataset
from ferlib.data.sources import open_data
from ferlib.errors import FerlibError
from ferlib.evaluation import adapt, evaluate, evaluator
from ferlib.faces.face import crop
from ferlib.faces.framing import framed
from ferlib.reading import inputs

RNG = np.random.default_rng(0)
SEVEN = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
FACES = {
    name: [cartoon.draw(name, RNG, intensity=1.0) for _ in range(3)] for name in EMOTIONS
}  # drawn once: they are in every layout
CKPLUS = dict(enumerate(("anger", "contempt", "disgust", "fear", "happiness", "sadness"), 1))
CKPLUS[7] = "surprise"
CKEXTENDED = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")


def save(path, picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def plain(folder, called=lambda name: name, ending="png"):
    for name in EMOTIONS:
        for number, picture in enumerate(FACES[name]):
            save(folder / called(name) / f"{number}.{ending}", picture)
    return folder


def shown(found) -> dict[str, str]:
    """Path -> name of the emotion."""
    return {p: EMOTIONS[k] for p, k in zip(found.names, found.labels, strict=True)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """For what holds of any net."""
    return tiny_weights(tmp_path_factory.mktemp("tiny"))


# ---------------------------------------------------------------- plain folders

NAMES = {
    "neutral": "Calm", "happiness": "HAPPY", "surprise": "suprise", "sadness": "3_sorrow",
    "anger": "0_Anger", "disgust": "Disgusted", "fear": "06-afraid", "contempt": "scorn",
}  # fmt: skip


@pytest.mark.parametrize("split", ["", "train/", "archive/images/train/"])
@pytest.mark.parametrize("ending", ["png", "BMP", "tiff"])
def test_plain_folders_by_their_usual_names(tmp_path, split, ending):
    plain(tmp_path, lambda name: split + NAMES[name], ending)
    found = folders.read(tmp_path)
    wanted = {
        str(tmp_path / split / NAMES[name] / f"{k}.{ending}"): name
        for name in EMOTIONS
        for k in range(3)
    }
    assert found.form == "folders" and shown(found) == wanted
    assert not found.skipped and not found.damaged


@pytest.mark.parametrize(("word", "emotion"), [
    ("happy", 1), ("Happiness", 1), ("joy", 1), ("sad", 3), ("sadness", 3), ("angry", 4),
    ("surprised", 2), ("surprise", 2), ("disgust", 5), ("fearful", 6), ("fear", 6),
    ("neutral", 0), ("contempt", 7), ("12 - anger", 4), ("4.fear", 6), ("scared", 6),
    ("joyful", 1), ("contemptuous", 7), ("neutrality", 0),
])  # fmt: skip
def test_words_for_emotions(tmp_path, word, emotion):
    save(tmp_path / word / "a.png", FACES["fear"][0])
    assert folders.read(tmp_path).labels.tolist() == [emotion]


def test_two_splits_are_read_together_and_stray_files_told(tmp_path):
    for split in ("train", "test"):
        save(tmp_path / split / "happy" / "a.png", FACES["happiness"][0])
    save(tmp_path / "train" / "stray.png", FACES["fear"][0])
    save(tmp_path / "extra" / "stray.png", FACES["fear"][0])
    (tmp_path / "test" / "happy" / ".hidden.png").write_bytes(b"")
    (tmp_path / "test" / "happy" / "notes.txt").write_text("not a picture")
    (tmp_path / "test" / "happy" / "inner").mkdir()
    (tmp_path / "__MACOSX" / "sad").mkdir(parents=True)
    found = folders.read(tmp_path)
    assert [p[len(str(tmp_path)) :] for p in found.names] == [
        "/test/happy/a.png",
        "/train/happy/a.png",
    ]
    assert sorted(p[len(str(tmp_path)) :] for p, _ in found.skipped) == [
        "/extra/stray.png", "/test/happy/inner", "/train/stray.png",
    ]  # fmt: skip


def test_only_the_first_level_with_emotions_counts(tmp_path):
    save(tmp_path / "set" / "train" / "sad" / "a.png", FACES["sadness"][0])
    save(tmp_path / "set" / "train" / "sad" / "happy" / "b.png", FACES["happiness"][0])
    save(tmp_path / "extra" / "inner" / "deeper" / "happy" / "c.png", FACES["happiness"][0])
    found = folders.read(tmp_path)
    assert list(shown(found).values()) == ["sadness"]
    assert [path for path, _ in found.skipped] == [
        str(tmp_path / "set" / "train" / "sad" / "happy"),
        str(tmp_path / "extra" / "inner" / "deeper" / "happy"),
    ]


def test_an_unknown_name_is_told_with_those_known(tmp_path):
    save(tmp_path / "happy" / "a.png", FACES["happiness"][0])
    save(tmp_path / "bored" / "a.png", FACES["neutral"][0])
    with pytest.raises(FerlibError, match=r"bored.*--map bored=(?s:.*)Known: .*surprised"):
        folders.read(tmp_path)
    assert folders.read(tmp_path, names={"Bored": "neutral"}).labels.tolist() == [0, 1]
    left = folders.read(tmp_path, names={"bored": "skip"})
    assert left.labels.tolist() == [1]
    assert left.skipped == [(str(tmp_path / "bored"), "left out by the mapping")]


def test_numbers_alone_need_a_mapping(tmp_path):
    for number in (1, 2):
        save(tmp_path / "train" / str(number) / "a.png", FACES["fear"][0])
    with pytest.raises(FerlibError, match=r"'1'.*--map 1="):
        folders.read(tmp_path)
    found = folders.read(tmp_path, names={"1": "surprise", "2": "fear"})
    assert found.labels.tolist() == [2, 6]


@pytest.mark.parametrize(("names", "said"), [
    ({"bored": "dull"}, "'dull'.*neutral"), ({"absent": "fear"}, "absent.*nothing to map"),
])  # fmt: skip
def test_a_mapping_that_fits_nothing_is_a_plain_error(tmp_path, names, said):
    save(tmp_path / "bored" / "a.png", FACES["neutral"][0])
    save(tmp_path / "happy" / "a.png", FACES["neutral"][0])
    with pytest.raises(FerlibError, match=said):
        folders.read(tmp_path, names=names)


def test_links_that_loop_come_to_an_end(tmp_path):
    plain(tmp_path)
    (tmp_path / "anger" / "up").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "anger" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "anger" / "round.png").symlink_to("round.png")
    os.mkfifo(tmp_path / "anger" / "pipe.png")
    found = folders.read(tmp_path)
    assert len(found) == 24
    gone = [str(tmp_path / "anger" / name) for name in ("gone.png", "pipe.png", "round.png")]
    assert [path for path, _ in found.damaged] == gone


@pytest.mark.parametrize("kind", ["auto", *folders.KINDS])
def test_nothing_to_read_is_a_plain_error(tmp_path, kind):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare" / "happy").mkdir(parents=True)
    (tmp_path / "bare" / "happy" / "notes.txt").write_text("")
    (tmp_path / "file").write_text("")
    for name in ("empty", "bare", "file"):
        with pytest.raises(FerlibError, match=rf"{name}.*\nExpected"):
            folders.read(tmp_path / name, kind)
    with pytest.raises(FerlibError, match="no such folder"):
        folders.read(tmp_path / "none", kind)
    with pytest.raises(FerlibError, match="empty"):
        folders.read("", kind)
    with pytest.raises(FerlibError, match=r"unknown kind 'x'.*jaffe"):
        folders.read(tmp_path, "x")


# ---------------------------------------------------------------- CK+


def ckplus(folder, images="cohn-kanade-images", labels="Emotion"):
    """Seven labelled sequences of three frames and one without a label."""
    for code in range(8):
        place = f"S{code + 5:03d}/001"
        stem = place.replace("/", "_")
        faces = (FACES["neutral"][0], FACES["anger"][0], FACES[CKPLUS.get(code, "fear")][0])
        for number, picture in enumerate(faces, 1):
            save(folder / images / place / f"{stem}_{number:08d}.png", picture)
        (folder / labels / place).mkdir(parents=True)
        if code:
            text = f"   {code:.7e}\n"
            (folder / labels / place / f"{stem}_00000003_emotion.txt").write_text(text)
    (folder / images / ".DS_Store").write_bytes(b"")
    (folder / images / "S005" / "001" / "._S005_001_00000001.png").write_bytes(b"")
    return folder


@pytest.mark.parametrize("unpacked", [
    {}, {"images": "extended-cohn-kanade-images/cohn-kanade-images",
         "labels": "Emotion_labels/Emotion"},
    {"images": "CK+/a/cohn-kanade-images", "labels": "CK+/b/Emotion"},
])  # fmt: skip
def test_ckplus_peaks_and_neutral_first_frames(tmp_path, unpacked):
    found = folders.read(ckplus(tmp_path, **unpacked))
    assert found.form == "ckplus" and not found.damaged
    names = {os.path.basename(path): name for path, name in shown(found).items()}
    assert len(names) == 15
    for code in range(8):
        assert names.pop(f"S{code + 5:03d}_001_00000001.png") == "neutral"
    assert names == {f"S{code + 5:03d}_001_00000003.png": CKPLUS[code] for code in CKPLUS}
    assert [reason for _, reason in found.skipped] == ["no label for the last frame"]


@pytest.mark.parametrize("text", ["", "fear", "8", "-1", "2.5", "nan", "inf", "1 2", "\xff", "٣"])
def test_a_spoilt_label_is_told_and_the_others_read(tmp_path, text):
    file = ckplus(tmp_path) / "Emotion/S009/001/S009_001_00000003_emotion.txt"
    file.write_text(text)
    found = folders.read(tmp_path)
    assert found.damaged == [(str(file), "expected one number from 0 to 7")]
    assert len(found) == 14


def test_ckplus_without_its_labels_or_a_picture(tmp_path):
    ckplus(tmp_path)
    (tmp_path / "cohn-kanade-images/S009/001/S009_001_00000003.png").unlink()
    assert "S009_001_00000003.png is missing" in folders.read(tmp_path).damaged[0][1]
    shutil.rmtree(tmp_path / "Emotion")
    for folder in (tmp_path, tmp_path / "cohn-kanade-images"):
        said = r"without the folder Emotion(?s:.*)both(?s:.*)Emotion_labels\.zip"
        with pytest.raises(FerlibError, match=said):
            folders.read(folder)


def test_kaggles_ck48_is_plain_folders(tmp_path):
    for name in ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise"):
        save(tmp_path / "CK+48" / name / "S010_004_00000017.png", FACES["fear"][0])
    found = folders.read(tmp_path)
    assert found.form == "folders" and found.labels.tolist() == [4, 7, 5, 6, 1, 3, 2]


def cells() -> list[list[str]]:
    return [
        [str(code), " ".join(map(str, FACES[name][0].ravel())), "Training"]
        for code, name in enumerate(CKEXTENDED)
    ]


def write_csv(path, rows, header=("emotion", "pixels", "Usage")):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.mark.parametrize("header", [("emotion", "pixels", "Usage"), ("Emotion", " Pixels", "x")])
def test_ckextended(tmp_path, header):
    file = write_csv(tmp_path / "ckextended.csv", cells(), header)
    for path in (tmp_path, file):
        found = folders.read(path)
        assert found.form == "ckextended"
        assert list(shown(found).values()) == list(CKEXTENDED)
        assert found.names[7] == f"{file}, row 8"
        for row, name in enumerate(CKEXTENDED):
            np.testing.assert_array_equal(found.pictures[row], FACES[name][0])


def test_ckextended_keeps_its_splits(tmp_path):
    rows = cells()[:3]
    for row, usage in zip(rows, ("Training", "PublicTest", "PrivateTest"), strict=True):
        row[2] = usage
    write_csv(tmp_path / "ckextended.csv", rows)
    assert folders.read(tmp_path).parts.tolist() == [0, 1, 2]


def spoil(row, column, text):
    rows = cells()
    rows[row][column] = text(rows[row][column]) if callable(text) else text
    return rows


@pytest.mark.parametrize(("rows", "said"), [
    (spoil(2, 1, lambda t: t + " 7"), "row 3: 2305 pixels, expected 2304"),
    (spoil(0, 1, "1 2 3"), "row 1: 3 pixels"),
    (spoil(1, 1, lambda t: "256" + t[t.index(" ") :]), "row 2: a pixel is '256'"),
    (spoil(1, 1, lambda t: "-1" + t[t.index(" ") :]), "row 2: a pixel is '-1'"),
    (spoil(1, 1, lambda t: "1.5" + t[t.index(" ") :]), "row 2: a pixel is '1.5'"),
    (spoil(7, 0, "8"), "row 8: the emotion is '8', expected 0 to 7"),
    (spoil(7, 0, "joy"), "row 8: the emotion is 'joy'"),
    ([*cells()[:4], ["3"]], "row 5: cells are missing"),
    ([*cells()[:4], ["3", "1" * 200_000, ""]], "row 5: field larger"),
    ([], "no pictures"),
])  # fmt: skip
def test_a_spoilt_csv_is_told_by_file_and_row(tmp_path, rows, said):
    file = write_csv(tmp_path / "ckextended.csv", rows)
    with pytest.raises(FerlibError, match=said) as error:
        folders.read(tmp_path)
    assert str(file if rows else tmp_path) in str(error.value)


@pytest.mark.parametrize("header", [("label", "pixels", "Usage"), ("emotion", "image"), ()])
def test_a_csv_with_other_columns_is_told(tmp_path, header):
    file = write_csv(tmp_path / "ckextended.csv", cells(), header)
    with pytest.raises(FerlibError, match=rf"{file}, line 1(?s:.*)emotion,pixels,Usage"):
        folders.read(tmp_path)


def test_a_csv_that_is_none_is_told(tmp_path):
    (tmp_path / "ckextended.csv").write_bytes(b"emotion,pixels\n0,\xff\xfe\x00")
    with pytest.raises(FerlibError, match="row 1"):
        folders.read(tmp_path)


# ---------------------------------------------------------------- JAFFE, FERG


@pytest.mark.parametrize("inside", [".", "jaffe", "archive/jaffedbase/jaffe"])
def test_jaffe(tmp_path, inside):
    codes = {"AN": 4, "DI": 5, "FE": 6, "HA": 1, "NE": 0, "SA": 3, "SU": 2}
    for number, (code, emotion) in enumerate(codes.items()):
        for ending in ("tiff", "jpg"):
            name = f"KA.{code}{number}.3{number}.{ending}"
            save(tmp_path / inside / name, FACES[EMOTIONS[emotion]][0])
    save(tmp_path / inside / "contact-sheet.png", FACES["fear"][0])
    (tmp_path / inside / "README").write_text("KA.AN1.39")
    found = folders.read(tmp_path)
    assert found.form == "jaffe" and len(found) == 14
    for path, name in shown(found).items():
        assert codes[os.path.basename(path)[3:5]] == EMOTIONS.index(name)
    assert [reason for _, reason in found.skipped] == ["not named as JAFFE's pictures are"]


def test_a_few_of_jaffes_among_others_are_sorted_by_their_folders(tmp_path):
    for name in ("KA.AN1.39.tiff", "a.png", "b.png"):
        save(tmp_path / "angry" / name, FACES["anger"][0])
    found = folders.read(tmp_path)
    assert found.form == "folders" and found.labels.tolist() == [4, 4, 4]


def test_ferg(tmp_path):
    words = dict(zip(SEVEN, SEVEN, strict=True)) | {"happiness": "joy"}
    for who in ("aia", "bonnie"):
        for name, word in words.items():
            path = tmp_path / "FERG_DB_256" / who / f"{who}_{word}" / f"{who}_{word}_1.png"
            save(path, FACES[name][0])
    for folder, n in ((".", 14), ("FERG_DB_256", 14), ("FERG_DB_256/aia", 7)):
        found = folders.read(tmp_path / folder)
        assert found.form == "ferg" and len(found) == n
        for path, name in shown(found).items():
            assert f"_{words[name]}_1.png" in path


def test_names_are_for_plain_folders_only(tmp_path):
    ckplus(tmp_path)
    with pytest.raises(FerlibError, match="labels of its own"):
        folders.read(tmp_path, "ckplus", {"x": "fear"})


# ---------------------------------------------------------------- classes of one's own


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape or (20, 20), dtype=np.uint8)


PETS = ("cat", "dog", "other")


def pets(folder, count: int = 10, split: str = ""):
    """Folders of three classes, `count` pictures each, none like another."""
    for number, name in enumerate(PETS):
        for k in range(count):
            save(folder / split / name / f"{name}{k}.png", noise(1000 * number + k))
    return folder


def test_any_folders_give_a_data_set_with_their_names(tmp_path):
    found = folders.read(pets(tmp_path, 2), classes=None)
    assert (found.classes, found.form, found.kind) == (PETS, "folders", "class")
    assert [os.path.basename(name) for name in found.names] == [
        f"{name}{k}.png" for name in PETS for k in range(2)
    ]
    assert found.truth.tolist() == [0, 0, 1, 1, 2, 2]
    for row, seed in enumerate((0, 1, 1000, 1001, 2000, 2001)):
        np.testing.assert_array_equal(found.pictures[row], noise(seed)[..., None].repeat(3, 2))


def test_named_classes_are_counted_in_their_own_order(tmp_path):
    """Also one without a picture here: a net's classes are those that it was trained on."""
    found = folders.read(pets(tmp_path, 1), classes=("other", "bird", "dog", "cat"))
    assert found.classes == ("other", "bird", "dog", "cat")
    assert found.truth.tolist() == [3, 2, 0]  # cat, dog, other
    with pytest.raises(FerlibError, match=r"other.*--map other=(?s:.*)cat; dog"):
        folders.read(tmp_path, classes=("cat", "dog"))
    left = folders.read(tmp_path, names={"other": "skip"}, classes=("cat", "dog"))
    assert left.truth.tolist() == [0, 1] and len(left.skipped) == 1


def test_names_may_end_in_a_space_but_must_be_text(tmp_path):
    own = {"cat ": 2, "dog": 3, "kitty": 2}
    for name, count in own.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(FACES["anger"][0]).save(tmp_path / "set" / name / f"{k}.png")
    found = folders.read(tmp_path / "set", names={"kitty": "cat"}, classes=None)
    assert found.classes == ("cat", "dog") and np.bincount(found.labels).tolist() == [4, 3]
    with pytest.raises(FerlibError, match="For classes of your own train a net with --own-classes"):
        folders.read(tmp_path / "set", names={"kitty": "cat"})
    (tmp_path / "set" / "dog").rename(os.fsdecode(bytes(tmp_path / "set") + b"/d\xf6g"))
    with pytest.raises(FerlibError, match=r"'d\\udcf6g' is no name in UTF-8: rename it"):
        folders.read(tmp_path / "set", classes=None)


def test_names_of_ones_own_may_be_mapped_and_left_out(tmp_path):
    """To each other, and to names that no folder has."""
    read = partial(folders.read, pets(tmp_path, 1), classes=None)
    assert read(names={"other": "skip"}).classes == ("cat", "dog")
    merged = read(names={"other": "Cat"})
    assert (merged.classes, merged.truth.tolist()) == (("cat", "dog"), [0, 1, 0])
    renamed = read(names={"cat": "pet", "dog": "pet"})
    assert (renamed.classes, renamed.truth.tolist()) == (("other", "pet"), [1, 1, 0])


def test_a_name_in_capitals_is_the_same_class(tmp_path):
    save(tmp_path / "train" / "Cat" / "a.png", noise(0))
    save(tmp_path / "train" / "dog" / "a.png", noise(1))
    save(tmp_path / "test" / "cat" / "a.png", noise(2))
    found = folders.read(tmp_path, classes=None)
    assert len(found.classes) == 2
    assert found.split("train").truth.tolist() == [0, 1]
    assert found.split("test").truth.tolist() == [0]


@pytest.mark.parametrize("kind", ["ckplus", "ckextended", "jaffe", "ferg"])
def test_published_data_sets_have_their_own_classes(tmp_path, kind):
    with pytest.raises(FerlibError, match=kind):
        folders.read(pets(tmp_path, 1), kind, classes=None)


def test_names_from_macos_are_the_same_names(tmp_path):
    """An accent may be a letter of its own there."""
    for split, form in (("train", "NFD"), ("valid", "NFC")):
        for name in ("Müde", "wach"):
            file = tmp_path / split / unicodedata.normalize(form, name) / "0.png"
            file.parent.mkdir(parents=True)
            Image.new("L", (9, 9)).save(file)
    found = folders.read(tmp_path, classes=None)
    assert found.classes == (unicodedata.normalize("NFC", "Müde"), "wach")
    assert found.split("valid").truth.tolist() == [0, 1]


# ---------------------------------------------------------------- splits


def test_kaggles_ckplus_holds_out_people(tmp_path):
    for person in range(10):
        for number, name in enumerate(("happy", "sadness")):
            for frame in (15, 16, 17):
                file = tmp_path / name / f"S{person:03}_{number:03}_{frame:08}.png"
                file.parent.mkdir(exist_ok=True)
                Image.new("L", (48, 48)).save(file)
    found = folders.read(tmp_path)
    held = [{name[:4] for name in stems(found.split(split))} for split in ("train", "valid")]
    assert [len(people) for people in held] == [8, 2] and not held[0] & held[1]


def stems(found) -> set[str]:
    return {os.path.basename(name) for name in found.names}


@pytest.mark.parametrize(
    "words",
    [
        ("train", "valid", "test"),
        ("Training", "val", "PrivateTest"),
        ("training", "validation", "testing"),
        ("train", "PublicTest", "test"),
        ("x", "dev", "test"),
        ("Trainset", "valid_set", "Testset"),
        ("train/images", "val/images", "test/images"),
        ("my test/train", "my test/valid", "my test/other"),
    ],
)
def test_splits_by_the_names_of_their_folders(tmp_path, words):
    """What says nothing is to learn from."""
    for number, word in enumerate(words):
        for name in PETS:
            save(tmp_path / "set" / word / name / f"{number}{name}.png", noise(number))
    found = folders.read(tmp_path, classes=None)
    for number, split in enumerate(("train", "valid", "test")):
        part = found.split(split)
        assert stems(part) == {f"{number}{name}.png" for name in PETS}
        assert part.truth.tolist() == [0, 1, 2] and part.about["split"] == split


def test_splits_are_no_classes(tmp_path):
    for name in ("train", "test"):
        save(tmp_path / "flat" / name / "a.png", noise(1))
    with pytest.raises(FerlibError, match="test and train are names of splits"):
        folders.read(tmp_path / "flat", classes=None)
    pets(tmp_path / "kaggle", 2, "train")
    save(tmp_path / "kaggle" / "test" / "1.png", noise(1))  # without labels
    found = folders.read(tmp_path / "kaggle", classes=None)
    assert found.classes == PETS and len(found) == 6
    assert found.skipped == [(str(tmp_path / "kaggle" / "test" / "1.png"), "in no class's folder")]
    for name in ("bus", "car", "train"):  # which is a vehicle here
        save(tmp_path / "vehicles" / name / "a.png", noise(1))
    assert folders.read(tmp_path / "vehicles", classes=None).classes == ("bus", "car", "train")


def test_classes_at_another_depth_are_told(tmp_path):
    pets(tmp_path, 2, "train")
    pets(tmp_path, 1, "valid/images")
    found = folders.read(tmp_path, classes=None)
    assert len(found) == 6
    deeper = [str(tmp_path / "valid" / "images" / name) for name in PETS]
    assert found.skipped == [(name, "deeper than the classes' folders") for name in deeper]


def test_every_ending_that_is_read_elsewhere_is_learnt_from(tmp_path):
    for number, ending in enumerate(inputs.PICTURES):
        save(tmp_path / "cat" / f"{number}.png", noise(number))
        (tmp_path / "cat" / f"{number}.png").rename(tmp_path / "cat" / f"{number}{ending}")
    save(tmp_path / "dog" / "a.png", noise(99))
    assert len(folders.read(tmp_path, classes=None)) == len(inputs.PICTURES) + 1


def test_where_none_is_for_validation_a_fifth_of_each_class_is_held_out(tmp_path):
    pets(tmp_path, 10, "train")
    pets(tmp_path, 3, "test")
    found = folders.read(tmp_path, classes=None)
    parts = {split: found.split(split) for split in ("train", "valid", "test")}
    assert {key: len(part) for key, part in parts.items()} == {"train": 24, "valid": 6, "test": 9}
    for split, count in (("train", 8), ("valid", 2), ("test", 3)):
        assert np.bincount(parts[split].truth).tolist() == [count] * 3
    assert not set(parts["train"].names) & set(parts["valid"].names)
    assert all("/test/" in name for name in parts["test"].names)


def test_the_same_pictures_are_held_out_every_time_and_everywhere(tmp_path, monkeypatch):
    """By their own names: also where the folder is moved, or named from elsewhere."""
    pets(tmp_path / "here")
    wanted = stems(folders.read(tmp_path / "here", classes=None).split("valid"))
    shutil.copytree(tmp_path / "here", tmp_path / "other" / "there")
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path / "here", tmp_path / "other" / "there", "here", "other"):
        assert stems(folders.read(place, classes=None).split("valid")) == wanted


@pytest.mark.parametrize("count", [5, 10, 23])
def test_a_picture_more_moves_at_most_one_other(tmp_path, count):
    """A fifth of one more is sometimes one more."""
    pets(tmp_path, count)
    before = stems(folders.read(tmp_path, classes=None).split("valid"))
    for k in range(20):
        added = tmp_path / "cat" / f"new{k}.png"
        save(added, noise(9))
        after = stems(folders.read(tmp_path, classes=None).split("valid"))
        assert len((after ^ before) - {added.name}) <= 1
        assert {name for name in after ^ before if not name.startswith(("cat", "new"))} == set()
        added.unlink()


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 1), (3, 1), (7, 1), (8, 2)])
def test_few_pictures_are_held_out_too_but_never_all(tmp_path, count, held):
    pets(tmp_path, count)
    found = folders.read(tmp_path, classes=None)
    assert np.bincount(found.split("train").truth).tolist() == [count - held] * 3
    if held:
        assert np.bincount(found.split("valid").truth).tolist() == [held] * 3
    else:
        with pytest.raises(FerlibError, match="valid"):
            found.split("valid")


def test_a_split_that_is_not_there_is_told(tmp_path):
    found = folders.read(pets(tmp_path, 2), classes=None)
    with pytest.raises(FerlibError, match="test"):
        found.split("test")
    with pytest.raises(FerlibError, match=r"'all'.*train"):
        found.split("all")


def of_people(folder, form: str):
    """Five people with three pictures each; gives whom a file's path shows."""
    faces = FACES["anger"]
    if form == "jaffe":
        for who in ("KA", "KL", "MK", "NM", "YM"):
            for k in range(3):
                save(folder / f"{who}.AN{k}.{k}.png", faces[k])
        return lambda name: os.path.basename(name)[:2]
    if form == "ckplus":
        ckplus(folder)  # eight people with a first frame each, and seven with a peak
        return lambda name: os.path.basename(name)[:4]
    for who in ("aia", "bonnie", "jules", "malcolm", "mery"):
        for k in range(3):
            save(folder / who / f"{who}_anger" / f"{who}_anger_{k}.png", faces[k])
    return lambda name: os.path.basename(name).split("_")[0]


@pytest.mark.parametrize("form", ["jaffe", "ckplus", "ferg"])
def test_a_person_is_in_one_split_only(tmp_path, form):
    who = of_people(tmp_path, form)
    found = folders.read(tmp_path)
    assert found.form == form
    learn, held = ({who(name) for name in found.split(s).names} for s in ("train", "valid"))
    assert not learn & held and learn | held == {who(name) for name in found.names}
    assert len(held) == round(len(learn | held) / 5)
    sizes = [len(found.split(split)) for split in ("train", "valid")]
    assert sum(sizes) == len(found)


def test_one_person_alone_cannot_be_in_two_splits(tmp_path):
    for k in range(5):
        save(tmp_path / f"KA.AN{k}.{k}.png", FACES["anger"][0])
    found = folders.read(tmp_path)
    assert len(found.split("train")) == 5
    with pytest.raises(FerlibError, match="valid"):
        found.split("valid")


# ---------------------------------------------------------------- any data by their place


def test_a_place_is_opened_as_what_lies_there(tmp_path):
    """Emotions where all names mean one, else the names as they are."""
    plain(tmp_path / "known", NAMES.get)
    assert open_data(tmp_path / "known").classes == EMOTIONS
    own = open_data(tmp_path / "known", own=True)
    assert own.classes == tuple(sorted(NAMES.values())) and len(own) == 24
    assert open_data(pets(tmp_path / "pets", 1)).classes == PETS
    save(tmp_path / "pets" / "happy" / "a.png", noise(1))
    assert open_data(tmp_path / "pets").classes == (*PETS[:2], "happy", "other")
    names = {"cat": "anger", "dog": "fear", "other": "skip"}
    mapped = open_data(tmp_path / "pets", names=names)
    assert mapped.classes == EMOTIONS and sorted(mapped.truth) == [1, 4, 6]


def test_fer2013_and_the_drawn_faces_are_opened_too(tmp_path, monkeypatch):
    votes = published.write_votes(tmp_path)
    (tmp_path / "fer2013.csv").write_text(published.text(published.rows()))
    fer2013.prepare(tmp_path / "fer2013.csv", votes, tmp_path / "kept")
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path / "kept"))
    for place in (None, tmp_path / "kept", str(tmp_path / "kept")):
        np.testing.assert_array_equal(open_data(place).pictures, published.PICTURES)
    monkeypatch.setattr(fer2013, "sample_data", lambda: "drawn")  # drawing them takes a while
    assert open_data("drawn") == "drawn"
    with pytest.raises(FerlibError, match="nowhere"):
        open_data(tmp_path / "nowhere")


def test_a_damaged_data_set_is_not_taken_for_names_of_ones_own(tmp_path):
    """What is wrong with it is told, instead of a data set of other classes."""
    ckplus(tmp_path)
    shutil.rmtree(tmp_path / "Emotion")
    with pytest.raises(FerlibError, match="Emotion"):
        open_data(tmp_path)


# ---------------------------------------------------------------- targets, arrays

# Of ten people; single votes do not count.
TEN = [[5, 0, 0, 3, 1, 0, 0, 0, 1, 0], [0, 10, 0, 0, 0, 0, 0, 0, 0, 0]]


def one_hot(*rows: int, of: int = 3) -> list[list[float]]:
    return np.eye(of)[list(rows)].tolist()


@pytest.mark.parametrize(("labels", "scheme", "wanted"), [
    (np.array([2, 0, 1]), "majority", one_hot(2, 0, 1)),
    (np.array([2, 0, 1]), "probability", one_hot(2, 0, 1)),
    (np.array([2, 0, 1]), "cross-entropy", one_hot(2, 0, 1)),
    (np.array([2, 0, 1]), "multi-target", one_hot(2, 0, 1)),
    (np.array([[0.2, 0.5, 0.3], [0.25, 0.0, 0.75]]), "majority", one_hot(1, 2)),
    (np.array([[0.2, 0.5, 0.3], [0.25, 0.0, 0.75]]), "cross-entropy",
     [[0.2, 0.5, 0.3], [0.25, 0, 0.75]]),
    (np.array([[0.2, 0.5, 0.3], [0.25, 0.0, 0.75]]), "multi-target", [[0, 1, 1], [0, 0, 1]]),
    (np.array([[0.29, 0.29, 0.21 + 0.21]]), "multi-target", [[0, 0, 1]]),
    (np.array([TEN[1], TEN[0]]), "majority", one_hot(1, 0, of=8)),
    (np.array(TEN), "cross-entropy", [[5 / 8, 0, 0, 3 / 8, 0, 0, 0, 0], one_hot(1, of=8)[0]]),
    (np.array(TEN), "multi-target", [[1, 0, 0, 1, 0, 0, 0, 0], one_hot(1, of=8)[0]]),
])  # fmt: skip
def test_targets_by_hand(labels, scheme, wanted):
    columns = len(wanted[0])
    classes = EMOTIONS if columns == 8 else PETS
    data = Dataset(np.zeros((len(labels), 4, 4), np.uint8), labels, classes)
    found = data.targets(scheme, np.random.default_rng(0))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(("labels", "share"), [
    (np.array([[0.25, 0.75, 0.0]]), [0.25, 0.75, 0]),
    (np.array([[2, 6, 0, 0, 0, 0, 0, 0, 1, 0]]), [0.25, 0.75, 0, 0, 0, 0, 0, 0]),
])  # fmt: skip
def test_probability_draws_one_class_as_often_as_its_share(labels, share):
    classes = EMOTIONS if len(share) == 8 else PETS
    many = Dataset(np.zeros((4000, 1, 1), np.uint8), labels.repeat(4000, 0), classes)
    drawn = many.targets("probability", np.random.default_rng(0))
    assert (drawn.sum(axis=1) == 1).all() and set(np.unique(drawn)) == {0, 1}
    np.testing.assert_allclose(drawn.mean(axis=0), share, atol=0.03)
    again = many.targets("probability", np.random.default_rng(1))
    assert (again != drawn).any()


def test_what_each_kind_of_labels_says():
    class_ = Dataset(np.zeros((3, 2, 2), np.uint8), np.array([1, -1, 0]), PETS)
    assert (class_.kind, class_.truth.tolist()) == ("class", [1, -1, 0])
    assert class_.shares.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert class_.trainable("majority").tolist() == [True, False, True]
    share = Dataset(np.zeros((2, 2, 2), np.uint8), np.array([[0.1, 0.9, 0], [0, 0, 0.0]]), PETS)
    assert (share.kind, share.truth.tolist()) == ("shares", [1, -1])
    assert share.trainable("cross-entropy").tolist() == [True, False]
    alone = Dataset(np.zeros((2, 2, 2), np.uint8), np.array([[1.0], [0.0]]), PETS[:1])
    assert alone.truth.tolist() == [0, -1]
    votes = Dataset(np.zeros((2, 2, 2), np.uint8), np.array([TEN[0], [2] * 5 + [0] * 5]))
    assert (votes.kind, votes.truth.tolist()) == ("votes", [0, -1])
    assert votes.trainable("majority").tolist() == [True, False]
    assert votes.trainable("cross-entropy").tolist() == [True, True]
    with pytest.raises(FerlibError, match="votes"):
        _ = class_.votes


def test_labels_that_do_not_fit_are_told():
    blank = np.zeros((2, 3, 3), np.uint8)
    for labels_, said in ((np.zeros(3, int), "2.*3"), (np.zeros((2, 4)), "4"),
                          (np.zeros((2, 8), int), "8.*10")):  # fmt: skip
        with pytest.raises(FerlibError, match=said):
            Dataset(blank, labels_, PETS)


def test_votes_that_are_no_shares_are_told():
    """Else the loss would grow with the voters, and ten classes of one's own pass for votes."""
    blank = np.zeros((3, 3, 3), np.uint8)
    counted = np.array([[0, 0, 0], [0, 1, 0], [8.0, 1, 1]])
    with pytest.raises(FerlibError, match="row 2 sum to 10"):
        Dataset(blank, counted, PETS)
    assert Dataset(blank, counted / [[1], [1], [10]], PETS).truth.tolist() == [-1, 1, 0]
    with pytest.raises(FerlibError, match="FER\\+'s votes"):
        Dataset(blank, 10 * np.eye(10, dtype=int)[:3], tuple("0123456789"))


TWO = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(("shown", "labels", "classes", "said"), [
    (np.zeros((2, 3, 3)), np.zeros(2, int), PETS, "pictures are float64 (2, 3, 3)"),
    (np.zeros((2, 3, 3, 4), np.uint8), np.zeros(2, int), PETS, "pictures are uint8 (2, 3, 3, 4)"),
    (np.zeros((2, 1, 4, 4), np.uint8), np.zeros(2, int), PETS, "expected Files, or uint8"),
    ([np.zeros((3, 3), np.uint8)] * 2, np.zeros(2, int), PETS, "pictures are list"),
    (TWO, [0, 1], PETS, "labels are list"),
    (TWO, np.array(["cat", "dog"]), PETS, "labels are <U3"),
    (TWO, np.array([0.0, 1.0]), PETS, "numbers from 0 to 2"),
    (TWO, np.array([0, 3]), PETS, "numbers from 0 to 2, -1 for none"),
    (TWO, np.array([0, -2]), PETS, "numbers from 0 to 2"),
    (TWO, np.array([[0, 1, 0], [0, np.nan, 1]]), PETS, "shares of classes are numbers from 0 on"),
    (TWO, np.full((2, 10), -1), EMOTIONS, "votes of classes are numbers from 0 on"),
    (TWO, np.zeros(2, int), ("cat", "cat"), "two classes have one name: cat, cat"),
])  # fmt: skip
def test_what_no_net_could_learn_from_is_told(shown, labels, classes, said):
    with pytest.raises(FerlibError, match=re.escape(said)):
        Dataset(shown, labels, classes)


SIZES = {
    "small": (12, 12), "the net's": (24, 24), "twice": (48, 48), "large": (100, 100),
    "wide": (30, 60),
}  # fmt: skip


@pytest.mark.parametrize("colour", [(), (3,)], ids=["gray", "RGB"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_pictures_on_the_disk_are_those_in_memory(tmp_path, monkeypatch, size, colour, channels):
    """At the net's size, whether they fit into memory or are read again each time."""
    stack = np.stack([noise(seed, *size, *colour) for seed in range(5)])
    for row, picture in enumerate(stack):
        save(tmp_path / "cat" / f"{row}.png", picture)
    stored, inside = folders.read(tmp_path, classes=None), Dataset(stack, np.zeros(5, int), PETS)
    wanted = images.resize(inside.array(24, channels)[np.arange(5)], 24, channels)
    assert wanted.shape == ((5, 24, 24) if channels == 1 else (5, 24, 24, 3))
    whole = stored.array(24, channels)
    assert isinstance(whole, np.ndarray)
    np.testing.assert_array_equal(whole, wanted)
    monkeypatch.setattr(dataset, "MOST_BYTES", whole.nbytes - 1)
    again = stored.array(24, channels)
    assert not isinstance(again, np.ndarray) and len(again) == 5
    for rows in (np.array([3, 0, 3]), slice(1, 4), np.arange(5) % 2 == 0):
        np.testing.assert_array_equal(again[rows], wanted[rows])


def test_an_array_by_hand():
    """Pillow's own resizing and mode "L" beside ours."""
    picture = noise(7, 100, 100, 3)
    data = Dataset(picture[None], np.zeros(1, int), PETS)
    small = Image.fromarray(picture).resize((24, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(data.array(24, 3)[0], np.asarray(small))
    gray = Image.fromarray(picture).convert("L").resize((24, 24), Image.Resampling.BILINEAR)
    assert np.abs(data.array(24)[0].astype(int) - np.asarray(gray)).max() <= 1


def test_pictures_that_training_can_warp_are_left_as_they_are():
    """Square and at most twice as large: they keep what a warp can still use."""
    for side, left in ((12, True), (48, True), (49, False)):
        data = Dataset(np.zeros((1, side, side), np.uint8), np.zeros(1, int), PETS)
        assert (data.array(24) is data.pictures) == left


def test_a_file_that_goes_is_told_by_its_name(tmp_path):
    found = folders.read(pets(tmp_path, 1), classes=None)
    (tmp_path / "dog" / "dog0.png").unlink()
    with pytest.raises(FerlibError, match=r"dog0\.png"):
        found.array(24)


# ---------------------------------------------------------------- the faces of photographs


def photographs(folder):
    """Two with one face each, a drawn crop, and a wall."""
    head = astronaut()[20:220, 120:320]
    save(folder / "happy" / "a.png", head)
    save(folder / "happy" / "wide.png", np.hstack([np.full_like(head, 90), head]))
    save(folder / "happy" / "wall.png", np.full((120, 160, 3), 90, np.uint8))
    save(folder / "sad" / "crop.png", FACES["sadness"][0])
    return folders.read(folder)


def test_faces_are_framed_for_training_and_what_has_none_is_told(tmp_path, tiny):
    found = photographs(tmp_path)
    ready = framed(found, 48, 1)
    assert [os.path.basename(name) for name in ready.names] == ["a.png", "wide.png", "crop.png"]
    assert ready.truth.tolist() == [1, 1, 3] and ready.pictures.shape == (3, 48, 48)
    assert [os.path.basename(name) for name, _ in ready.skipped] == ["wall.png"]
    np.testing.assert_array_equal(ready.pictures[2], FACES["sadness"][0])  # a face already
    head, fer = astronaut()[20:220, 120:320], Recognizer(tiny)
    (box,), _ = fer.find(head)
    wanted = images.resize([crop(head, box)], 48)[0]  # what the net will be asked about
    np.testing.assert_array_equal(ready.pictures[0], wanted)
    assert np.abs(ready.pictures[1].astype(int) - wanted).mean() < 12  # found elsewhere
    assert framed(found, 40, 3).pictures.shape == (3, 40, 40, 3)


def test_a_tilted_head_is_measured_as_it_is_read(tmp_path, tiny):
    """Turned upright first, as `ferlib predict` does."""
    head = np.asarray(Image.fromarray(astronaut()[:320, 60:380]).rotate(-30, Image.BICUBIC))
    save(tmp_path / "set" / "happy" / "a.png", head)
    evaluate(folders.read(tmp_path / "set"), tiny, "find", out=tmp_path / "answers.csv")
    with open(tmp_path / "answers.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    wanted = Recognizer(tiny)(head)[0]
    assert abs(wanted.roll) > 20
    assert {name: float(row[name]) for name in EMOTIONS} == pytest.approx(wanted.scores, abs=1e-5)


def test_a_tilted_head_is_learnt_as_it_is_read(tmp_path, tiny):
    head = np.asarray(Image.fromarray(astronaut()[:320, 60:380]).rotate(-30, Image.BICUBIC))
    save(tmp_path / "happy" / "a.png", head)
    fer, ready = Recognizer(tiny), framed(folders.read(tmp_path), 48, 1, "find")
    rolls, (wanted, *_) = fer.upright(fer.seen(head).parts)
    assert abs(rolls[0]) > 20
    np.testing.assert_array_equal(ready.pictures[0], images.resize([wanted], 48)[0])


def test_training_says_what_it_leaves_out(tmp_path, monkeypatch):
    def stop(_out, *parts):
        raise FerlibError(f"{len(parts[0])} and {len(parts[1])}")

    monkeypatch.setattr("ferlib.training.train.train_to", stop)
    for split in ("train", "valid"):
        photographs(tmp_path / "set" / split)
    save(tmp_path / "set" / "stray.png", noise(0))
    run = ferlib("train", "--data", tmp_path / "set", "--out", tmp_path / "net")
    assert mistake(run, 1) == "ferlib: 3 and 3\n"
    counts = dict(re.findall(r"left out: (\d+) x (.*)", run.stdout))
    assert {number: "face" in reason for number, reason in counts.items()} == {
        "2": True,
        "1": False,
    }


def test_what_is_said_to_be_a_face_is_not_searched(tmp_path):
    def never(_picture):
        raise AssertionError("searched")

    found = photographs(tmp_path)
    assert framed(found, 48, 1, "crop", never) is found
    crops = Dataset(np.zeros((2, 48, 48), np.uint8), np.zeros(2, int))
    assert framed(crops, 48, 1, "auto", never) is crops
    nothing = Dataset(crops.pictures[:0], np.zeros(0, int))
    assert framed(nothing, 48, 1, "find", never) is nothing
    with pytest.raises(FerlibError, match=r"'guess'.*crop"):
        framed(found, 48, 1, "guess")


def test_no_face_anywhere_is_a_plain_error(tmp_path):
    with pytest.raises(FerlibError, match=r"no face(?s:.*)--faces crop"):
        framed(folders.read(pets(tmp_path, 1), classes=None), 48, 1, "find")


# ---------------------------------------------------------------- measuring a net on them


@pytest.fixture(scope="module")
def fer():
    return Recognizer()


@pytest.fixture
def no_fer2013(tmp_path, monkeypatch):
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path))


def measured(folder, weights=None, **how):
    return evaluate(folders.read(folder), weights, **how)


def answers(file) -> list[dict[str, str]]:
    with open(file, newline="") as text:
        return list(csv.DictReader(text))


def test_what_is_wrong_with_one_split_is_not_told_of_another(tmp_path):
    for split in ("train", "valid", "test"):
        plain(tmp_path / split)
    (tmp_path / "train" / "fear" / "broken.png").symlink_to("nowhere")
    save(tmp_path / "test" / "stray.png", FACES["fear"][0])
    found = folders.read(tmp_path)
    parts = {split: found.split(split) for split in ("train", "valid", "test")}
    assert {split: len(part.damaged) for split, part in parts.items()} == {
        "train": 1,
        "valid": 0,
        "test": 0,
    }
    assert [len(part.skipped) for part in parts.values()] == [0, 0, 1]
    fewer = found.only(tuple(found.classes[:7])).split("test")
    (away,) = set(found.classes) - set(fewer.classes)
    assert len(fewer.skipped) == 1 + len(FACES[away])


def test_crops_are_read_as_classify_reads_them(tmp_path, fer, no_fer2013):
    plain(tmp_path / "set")
    result = measured(tmp_path / "set", out=tmp_path / "answers.csv")
    wanted = fer.classify(np.concatenate([FACES[name] for name in sorted(EMOTIONS)]))
    rows = answers(tmp_path / "answers.csv")
    assert [row["truth"] for row in rows] == [name for name in sorted(EMOTIONS) for _ in range(3)]
    got = np.array([[float(row[name]) for name in EMOTIONS] for row in rows])
    np.testing.assert_allclose(got, wanted, atol=2e-6)
    assert [row["answer"] for row in rows] == [EMOTIONS[k] for k in wanted.argmax(axis=1)]
    right = [row["answer"] == row["truth"] for row in rows]
    assert result.accuracy == pytest.approx(np.mean(right), abs=1e-5)
    for k, name in enumerate(sorted(EMOTIONS)):
        assert result.per_emotion[name] == pytest.approx(
            np.mean(right[3 * k : 3 * k + 3]), abs=1e-5
        )
    assert result.balanced_accuracy == pytest.approx(np.mean(right), abs=1e-5)
    assert np.sum(result.confusion) == result.n == result.cropped == 24
    assert result.not_found == 0 and result.unreadable == [] and result.form == "folders"


def test_only_the_allowed_answers_are_given(tmp_path, tiny, no_fer2013):
    plain(tmp_path / "set")
    file, two = tmp_path / "answers.csv", ("fear", "contempt")
    result = measured(tmp_path / "set", tiny, emotions=two, out=file)
    for row in answers(file):
        assert row["answer"] == max(two, key=lambda name, row=row: float(row[name]))
    assert result.emotions == ["fear", "contempt"]
    assert result.per_emotion["happiness"] == 0
    with pytest.raises(FerlibError, match=r"'joy'.*happiness"):
        measured(tmp_path / "set", tiny, emotions=["joy"])


def test_flip_is_the_recognizers(tmp_path, no_fer2013):
    save(tmp_path / "set" / "fear" / "a.png", FACES["fear"][0])
    measured(tmp_path / "set", flip=True, out=tmp_path / "a.csv")
    wanted = Recognizer(flip=True).classify([FACES["fear"][0]])[0]
    got = [float(answers(tmp_path / "a.csv")[0][name]) for name in EMOTIONS]
    np.testing.assert_allclose(got, wanted, atol=2e-6)


def test_photographs_are_searched_and_a_face_not_found_is_wrong(tmp_path, fer, no_fer2013):
    photo, file = astronaut()[20:220, 120:320], tmp_path / "answers.csv"
    both = np.full((240, 400, 3), 128, np.uint8)
    both[20:120, 20:120], both[20:220, 160:360] = photo[::2, ::2], photo
    for name, picture in (("a", photo), ("b", both)):
        save(tmp_path / "set" / "happy" / f"{name}.png", picture)
    save(tmp_path / "set" / "sad" / "none.png", np.full((200, 200), 90, np.uint8))
    result = measured(tmp_path / "set", out=file)
    rows = {os.path.basename(row["path"]): row for row in answers(file)}
    assert len(fer(both)) == 2
    for name, picture in (("a.png", photo), ("b.png", both)):
        largest = max(fer(picture), key=lambda face: face.box[2] * face.box[3])
        assert rows[name]["answer"] == largest.emotion
        assert float(rows[name]["happiness"]) == pytest.approx(
            largest.scores["happiness"], abs=2e-6
        )
    assert rows["none.png"]["answer"] == rows["none.png"]["fear"] == ""
    lost = [row for row in rows.values() if not row["answer"]]
    assert result.not_found == len(lost) == 1 and result.n == 3 and result.cropped == 0
    right = sum(row["answer"] == row["truth"] for row in rows.values())
    assert result.accuracy == pytest.approx(right / 3, abs=1e-5)
    assert result.accuracy_where_found == right / 2 and result.per_emotion["sadness"] == 0
    assert np.sum(result.confusion) == 2
    assert result.counts["happiness"] == 2 and result.counts["sadness"] == 1


def test_how_to_come_to_a_face_can_be_said(tmp_path, tiny, no_fer2013):
    for side in (48, 100, 101):
        save(tmp_path / "happy" / f"{side}.png", cartoon.draw("happiness", RNG, size=side))
    save(tmp_path / "happy" / "wide.png", np.zeros((48, 60), np.uint8))
    ways = ("auto", "crop", "find")
    cropped = {way: measured(tmp_path, tiny, faces=way).cropped for way in ways}
    assert cropped == {"auto": 2, "crop": 4, "find": 0}
    with pytest.raises(FerlibError, match=r"'guess'.*crop"):
        measured(tmp_path, tiny, faces="guess")


def test_training_pictures_are_told_apart(tmp_path, tiny, monkeypatch):
    votes = published.write_votes(tmp_path)
    text = published.text(published.rows())
    (tmp_path / "fer2013.csv").write_text(text)
    fer2013.prepare(tmp_path / "fer2013.csv", votes, tmp_path / "fer2013")
    known = fer2013.load(tmp_path / "fer2013")
    train, other = published.PICTURES[[2, 5]], published.PICTURES[[8, 11]]
    save(tmp_path / "set" / "anger" / "train.png", train[0])
    save(tmp_path / "set" / "anger" / "train.bmp", np.repeat(train[1][..., None], 3, axis=2))
    save(tmp_path / "set" / "anger" / "valid.png", other[0])
    save(tmp_path / "set" / "fear" / "test.png", other[1])
    save(tmp_path / "set" / "fear" / "large.png", np.kron(train[0], np.ones((2, 2), np.uint8)))
    how = {"faces": "crop", "known": known}
    result = measured(tmp_path / "set", tiny, **how, out=tmp_path / "a.csv")
    same = result.training_pictures
    assert (same.compared, same.n) == (4, 2)
    right = {r["path"]: r["answer"] == r["truth"] for r in answers(tmp_path / "a.csv")}
    rest = [hit for path, hit in right.items() if "train." not in path]
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path / "fer2013"))  # where it is looked for
    assert measured(tmp_path / "set", tiny, faces="crop").training_pictures == same
    assert same.accuracy_without == pytest.approx(np.mean(rest), abs=1e-5)
    assert "2 are FER2013's own training pictures" in result.text()


def test_without_fer2013_that_is_said(tmp_path, tiny, no_fer2013):
    save(tmp_path / "set" / "fear" / "a.png", FACES["fear"][0])
    result = measured(tmp_path / "set", tiny)
    assert result.training_pictures.n is None
    assert "not compared" in result.text()
    asked = ("--weights", tiny, "--data", tmp_path / "nowhere")
    assert "nowhere" in mistake(ferlib("evaluate", "--folder", tmp_path / "set", *asked), 1)


@pytest.mark.slow
@pytest.mark.skipif("FERLIB_DATA" not in os.environ, reason="needs FER2013 (FERLIB_DATA)")
def test_validation_faces_as_a_folder_score_as_they_do_in_the_split(tmp_path):
    real = fer2013.load()
    valid = real.split("valid")
    pictures, new = valid.pictures, np.flatnonzero(~real.also_in("train")[valid.rows])[:160]
    truth = labels.majority(valid.votes[new])
    for row, emotion in zip(new, truth, strict=True):
        save(tmp_path / "valid" / EMOTIONS[emotion] / f"{row}.png", pictures[row])
    for row in np.flatnonzero(real.usage == 0)[:20]:
        save(tmp_path / "train" / "neutral" / f"{row}.png", real.pictures[row])
    result = measured(tmp_path, known=real)
    scores = Recognizer().classify(pictures[new])
    wanted = np.mean(scores.argmax(axis=1) == truth)
    assert result.training_pictures.n == 20 and result.n == 180
    assert result.training_pictures.accuracy_without == pytest.approx(wanted, abs=1e-5)
    assert wanted > 0.7


def test_adapting_finds_the_frequencies_and_bayes_answers():
    rng = np.random.default_rng(0)
    usual, here = np.array([0.6, 0.3, 0.05, 0.05]), np.array([0.05, 0.15, 0.4, 0.4])
    truth = rng.choice(4, 4000, p=here)
    points = np.eye(4)[truth] * 2 + rng.normal(size=(4000, 4))  # four Gaussians, deviation 1

    def posterior(prior):
        likely = np.exp(2 * points) * prior  # of each mean, without what they share
        return likely / likely.sum(axis=1, keepdims=True)

    adapted = adapt(posterior(usual), usual)
    np.testing.assert_allclose(adapted.mean(axis=0), here, atol=0.02)
    best = np.mean(posterior(here).argmax(axis=1) == truth)
    assert np.mean(posterior(usual).argmax(axis=1) == truth) < best - 0.1
    assert np.mean(adapted.argmax(axis=1) == truth) > best - 0.01


def reading(scores: list, truth: list[int], *usual: tuple) -> SimpleNamespace:
    """Of two classes: scores (2,) of each picture, None where no face was found."""
    seen = [row for row, one in enumerate(scores) if one is not None]
    infos = [nets.Info(classes=("a", "b"), shares=shares) for shares in usual]
    return SimpleNamespace(
        fer=SimpleNamespace(nets=[(None, info) for info in infos]),
        data=SimpleNamespace(truth=np.array(truth), classes=("a", "b")),
        scores=dict(enumerate(scores)),
        seen=seen,
        stacked=lambda rows: np.array([scores[row] for row in rows]),
    )


def test_a_face_that_was_not_found_is_wrong_in_adapted_figures_too(monkeypatch):
    monkeypatch.setattr(evaluator, "ENOUGH", 2)
    found = reading([(0.9, 0.1), (0.2, 0.8), None, None], [0, 1, 0, 1], (0.5, 0.5))
    assert evaluator._adapted(found, np.ones(2, bool)).accuracy == 0.5


def test_the_usual_shares_of_several_nets_are_averaged(monkeypatch):
    asked = []
    monkeypatch.setattr(evaluator, "ENOUGH", 2)
    monkeypatch.setattr(evaluator, "adapt", lambda scores, usual: asked.append(usual) or scores)
    found = reading([(0.9, 0.1), (0.2, 0.8)], [0, 1], (0.5, 0.5), (0.1, 0.9))
    evaluator._adapted(found, np.ones(2, bool))
    np.testing.assert_allclose(asked[0], (0.3, 0.7))


def test_how_sure_an_answer_is_is_told_of_what_may_be_answered():
    found = reading([(0.9, 0.1), None, (0.3, 0.7)], [1, 0, 0])
    sure, right = evaluator._sure(found, np.array([False, True]))
    assert sure.tolist() == [0.1, 0.7] and right.tolist() == [True, False]


def test_files_that_changed_or_mean_something_else_are_other_data(tmp_path):
    save(tmp_path / "a.png", FACES["fear"][0])

    def known(label: int) -> str:
        files = dataset.Files([str(tmp_path / "a.png")])
        return dataset.fingerprint(Dataset(files, np.array([label]), ("a", "b")), None)

    before = known(0)
    assert known(0) == before != known(1)
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert known(0) != before


def test_adapted_figures_are_told_beside_the_plain_ones(tmp_path, fer, no_fer2013, monkeypatch):
    plain(tmp_path / "set")
    monkeypatch.setattr(evaluator, "ENOUGH", 24)
    shares = (0.3, 0.3, 0.1, 0.1, 0.1, 0.04, 0.04, 0.02)
    net, info = nets.load(fer.weights[0])
    nets.save(net, tmp_path / "net", replace(info, shares=shares))
    result = measured(tmp_path / "set", tmp_path / "net")
    crops = np.concatenate([FACES[name] for name in sorted(EMOTIONS)])
    scores = Recognizer(tmp_path / "net").classify(crops)
    truth = np.repeat([EMOTIONS.index(name) for name in sorted(EMOTIONS)], 3)
    assert result.accuracy == pytest.approx(np.mean(scores.argmax(axis=1) == truth), abs=1e-5)
    weighted = adapt(scores.astype(float), np.array(shares))
    wanted = np.mean(weighted.argmax(axis=1) == truth)
    assert result.adapted.accuracy == pytest.approx(wanted, abs=1e-5)
    assert sum(result.adapted.shares.values()) == pytest.approx(1, abs=1e-3)
    assert "without labels" in result.text()
    # The usual shares are of answers with bias and temperature: they say nothing of raw ones.
    assert measured(tmp_path / "set", tmp_path / "net", raw=True).adapted is None
    monkeypatch.setattr(evaluator, "ENOUGH", 25)
    assert measured(tmp_path / "set", tmp_path / "net").adapted is None


@pytest.mark.parametrize("kind", ["ckplus", "ckextended", "jaffe", "ferg"])
def test_every_layout_is_measured(tmp_path, tiny, kind, no_fer2013):
    if kind == "ckplus":
        ckplus(tmp_path)
    elif kind == "ckextended":
        write_csv(tmp_path / "ckextended.csv", cells())
    elif kind == "jaffe":
        save(tmp_path / "KA.AN1.39.tiff", FACES["anger"][0])
    else:
        save(tmp_path / "aia" / "aia_joy" / "aia_joy_1.png", FACES["happiness"][0])
    result = measured(tmp_path, tiny)
    assert result.form == kind
    assert result.n == {"ckplus": 15, "ckextended": 8, "jaffe": 1, "ferg": 1}[kind]
    told = result.as_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == json.loads(json.dumps(told))
    assert kind in result.text()


# ---------------------------------------------------------------- the command


def spoilt(folder):
    """Three good pictures and three that cannot be read."""
    for name in ("happy", "sad", "fear"):
        save(folder / name / "good.png", FACES["fear"][0])
    whole = (folder / "happy" / "good.png").read_bytes()
    (folder / "happy" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "happy" / "empty.jpg").write_bytes(b"")
    (folder / "sad" / "text.gif").write_text("not a picture")
    return folder


def test_the_good_ones_are_measured_and_the_others_told(tmp_path, tiny, no_fer2013):
    words = ["evaluate", "--weights", tiny, "--folder", spoilt(tmp_path / "set"), "--json"]
    run = ferlib(*words, "--out", tmp_path / "a.csv")
    assert "cut.png (and 2 more)" in mistake(run, 1)
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["n"] == 3
    names = [os.path.basename(path) for path, _ in result["unreadable"]]
    assert names == ["cut.png", "empty.jpg", "text.gif"]
    assert len(answers(tmp_path / "a.csv")) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "set"]


def test_a_mapping_and_a_report_on_the_command_line(tmp_path, tiny, no_fer2013):
    folder = plain(tmp_path / os.fsdecode(b"caf\xe9"), lambda name: f"the_{name}")
    maps = [word for name in EMOTIONS for word in ("--map", f"the_{name}={name}")]
    out = ["--weights", tiny, "--out", tmp_path / "a.csv"]
    run = ferlib("evaluate", "--folder", folder, *maps, *out)
    assert run.returncode == 0, run.stderr
    assert b"caf\xe9/the_fear/0.png" in (tmp_path / "a.csv").read_bytes()
    assert "n = 24: 24 crops" in run.stdout and "contempt" in run.stdout


@pytest.mark.parametrize("spoiling", ["folder", "absent folder", "all unreadable", "unknown"])
def test_mistakes_are_two_plain_lines_and_leave_no_file(tmp_path, tiny, spoiling):
    folder, out = spoilt(tmp_path / "set"), tmp_path / "out" / "a.csv"
    if spoiling == "folder":
        out.mkdir(parents=True)
    elif spoiling != "absent folder":
        out.parent.mkdir()
    if spoiling == "all unreadable":
        for file in folder.rglob("good.png"):
            file.write_bytes(b"")
    if spoiling == "unknown":
        (folder / "happy").rename(folder / "bored")
    run = ferlib("evaluate", "--weights", tiny, "--folder", folder, "--out", out, "--json")
    said = {"all unreadable": "none of the 6 pictures", "unknown": "--map bored="}
    assert said.get(spoiling, "cannot write") in mistake(run, 1)
    assert run.stdout == "" and not list(tmp_path.glob("out/*.csv*[!v]"))
    assert not out.is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--folder", "x", "--protocol", "label.csv"), "--protocol"),
        (("--kind", "jaffe"), "--kind works only with --folder"),
        (("--faces", "crop"), "--faces"),
        (("--map", "a=fear"), "--map"),
        (("--emotions", "fear"), "--emotions"),
        (("--out", "x"), "--out"),
        (("--folder", "x", "--map", "fear"), "NAME=EMOTION"),
        (("--folder", "x", "--emotions", "joy"), "happiness"),
        (("--folder", "x", "--kind", "ck"), "ckplus"),
    ],
)
def test_what_does_not_go_together_is_exit_2(words, said):
    assert said in mistake(ferlib("evaluate", *words), 2)


def test_answers_are_written_over_nobodys_file(tmp_path, tiny):
    folder, photo = plain(tmp_path / "set"), tmp_path / "photo.jpg"
    photo.write_bytes(b"a photograph")
    run = ferlib("evaluate", "--weights", tiny, "--folder", folder, "--out", photo)
    assert "holds no answers" in mistake(run, 1)
    assert photo.read_bytes() == b"a photograph"


def test_a_mapping_to_what_no_net_knows_is_a_plain_error(tmp_path, tiny):
    folder = plain(tmp_path / "set")
    run = ferlib("evaluate", "--weights", tiny, "--folder", folder, "--map", "fear=dull")
    said = mistake(run, 1)
    assert "dull" in said and all(name in said for name in EMOTIONS)
