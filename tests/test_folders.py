"""Other data sets: every layout as it is published, drawn faces in real files, and damaged ones."""

import csv
import json
import os
import shutil

import numpy as np
import published
import pytest
from PIL import Image
from skimage import data
from test_cli import ferlib, mistake

from ferlib import EMOTIONS, Recognizer, datasets, fer2013, generalise, labels, sample
from ferlib.errors import FerlibError

RNG = np.random.default_rng(0)
SEVEN = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
FACES = {
    name: [sample.draw(name, RNG, intensity=1.0) for _ in range(3)] for name in EMOTIONS
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
    return {p: EMOTIONS[k] for p, k in zip(found.paths, found.emotions, strict=True)}


# ---------------------------------------------------------------- plain folders

NAMES = {
    "neutral": "Calm", "happiness": "HAPPY", "surprise": "suprise", "sadness": "3_sorrow",
    "anger": "0_Anger", "disgust": "Disgusted", "fear": "06-afraid", "contempt": "scorn",
}  # fmt: skip


@pytest.mark.parametrize("split", ["", "train/", "archive/images/train/"])
@pytest.mark.parametrize("ending", ["png", "BMP", "tiff"])
def test_plain_folders_by_their_usual_names(tmp_path, split, ending):
    plain(tmp_path, lambda name: split + NAMES[name], ending)
    found = datasets.read(tmp_path)
    wanted = {
        str(tmp_path / split / NAMES[name] / f"{k}.{ending}"): name
        for name in EMOTIONS
        for k in range(3)
    }
    assert found.kind == "folders" and shown(found) == wanted
    assert not found.skipped and not found.damaged


@pytest.mark.parametrize(("word", "emotion"), [
    ("happy", 1), ("Happiness", 1), ("joy", 1), ("sad", 3), ("sadness", 3), ("angry", 4),
    ("surprised", 2), ("surprise", 2), ("disgust", 5), ("fearful", 6), ("fear", 6),
    ("neutral", 0), ("contempt", 7), ("12 - anger", 4), ("4.fear", 6),
])  # fmt: skip
def test_words_for_emotions(tmp_path, word, emotion):
    save(tmp_path / word / "a.png", FACES["fear"][0])
    assert datasets.read(tmp_path).emotions == [emotion]


def test_two_splits_are_read_together_and_stray_files_told(tmp_path):
    for split in ("train", "test"):
        save(tmp_path / split / "happy" / "a.png", FACES["happiness"][0])
    save(tmp_path / "train" / "stray.png", FACES["fear"][0])
    save(tmp_path / "extra" / "stray.png", FACES["fear"][0])
    (tmp_path / "test" / "happy" / ".hidden.png").write_bytes(b"")
    (tmp_path / "test" / "happy" / "notes.txt").write_text("not a picture")
    (tmp_path / "test" / "happy" / "inner").mkdir()
    (tmp_path / "__MACOSX" / "sad").mkdir(parents=True)
    found = datasets.read(tmp_path)
    assert [p[len(str(tmp_path)) :] for p in found.paths] == [
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
    found = datasets.read(tmp_path)
    assert list(shown(found).values()) == ["sadness"]
    assert [reason for _, reason in found.skipped] == ["a folder in an emotion's folder"]


def test_an_unknown_name_is_told_with_those_known(tmp_path):
    save(tmp_path / "happy" / "a.png", FACES["happiness"][0])
    save(tmp_path / "bored" / "a.png", FACES["neutral"][0])
    with pytest.raises(FerlibError, match=r"bored.*--map bored=(?s:.*)Known: .*surprised"):
        datasets.read(tmp_path)
    assert datasets.read(tmp_path, names={"Bored": "neutral"}).emotions == [0, 1]
    left = datasets.read(tmp_path, names={"bored": "skip"})
    assert left.emotions == [1]
    assert left.skipped == [(str(tmp_path / "bored"), "left out by the mapping")]


def test_numbers_alone_need_a_mapping(tmp_path):
    for number in (1, 2):
        save(tmp_path / "train" / str(number) / "a.png", FACES["fear"][0])
    with pytest.raises(FerlibError, match=r"'1'.*--map 1="):
        datasets.read(tmp_path)
    found = datasets.read(tmp_path, names={"1": "surprise", "2": "fear"})
    assert found.emotions == [2, 6]


@pytest.mark.parametrize(("names", "said"), [
    ({"bored": "dull"}, "'dull'.*neutral"), ({"absent": "fear"}, "absent.*nothing to map"),
])  # fmt: skip
def test_a_mapping_that_fits_nothing_is_a_plain_error(tmp_path, names, said):
    save(tmp_path / "bored" / "a.png", FACES["neutral"][0])
    save(tmp_path / "happy" / "a.png", FACES["neutral"][0])
    with pytest.raises(FerlibError, match=said):
        datasets.read(tmp_path, names=names)


def test_links_that_loop_come_to_an_end(tmp_path):
    plain(tmp_path)
    (tmp_path / "anger" / "up").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "anger" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "anger" / "round.png").symlink_to("round.png")
    os.mkfifo(tmp_path / "anger" / "pipe.png")
    found = datasets.read(tmp_path)
    assert len(found.paths) == 24
    gone = [str(tmp_path / "anger" / name) for name in ("gone.png", "pipe.png", "round.png")]
    assert [path for path, _ in found.damaged] == gone


@pytest.mark.parametrize("kind", ["auto", *datasets.KINDS])
def test_nothing_to_read_is_a_plain_error(tmp_path, kind):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare" / "happy").mkdir(parents=True)
    (tmp_path / "bare" / "happy" / "notes.txt").write_text("")
    (tmp_path / "file").write_text("")
    for name in ("empty", "bare", "file"):
        with pytest.raises(FerlibError, match=rf"{name}.*\nExpected"):
            datasets.read(tmp_path / name, kind)
    with pytest.raises(FerlibError, match="no such folder"):
        datasets.read(tmp_path / "none", kind)
    with pytest.raises(FerlibError, match="empty"):
        datasets.read("", kind)
    with pytest.raises(FerlibError, match=r"unknown kind 'x'.*jaffe"):
        datasets.read(tmp_path, "x")


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
    found = datasets.read(ckplus(tmp_path, **unpacked))
    assert found.kind == "ckplus" and not found.damaged
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
    found = datasets.read(tmp_path)
    assert found.damaged == [(str(file), "expected one number from 0 to 7")]
    assert len(found.paths) == 14


def test_ckplus_without_its_labels_or_a_picture(tmp_path):
    ckplus(tmp_path)
    (tmp_path / "cohn-kanade-images/S009/001/S009_001_00000003.png").unlink()
    assert "S009_001_00000003.png is missing" in datasets.read(tmp_path).damaged[0][1]
    shutil.rmtree(tmp_path / "Emotion")
    for folder in (tmp_path, tmp_path / "cohn-kanade-images"):
        said = r"without the folder Emotion(?s:.*)both(?s:.*)Emotion_labels\.zip"
        with pytest.raises(FerlibError, match=said):
            datasets.read(folder)


def test_kaggles_ck48_is_plain_folders(tmp_path):
    for name in ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise"):
        save(tmp_path / "CK+48" / name / "S010_004_00000017.png", FACES["fear"][0])
    found = datasets.read(tmp_path)
    assert found.kind == "folders" and found.emotions == [4, 7, 5, 6, 1, 3, 2]


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
        found = datasets.read(path)
        assert found.kind == "ckextended"
        assert list(shown(found).values()) == list(CKEXTENDED)
        assert found.paths[7] == f"{file}, row 8"
        for row, name in enumerate(CKEXTENDED):
            np.testing.assert_array_equal(found.picture(row), FACES[name][0])


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
        datasets.read(tmp_path)
    assert str(file if rows else tmp_path) in str(error.value)


@pytest.mark.parametrize("header", [("label", "pixels", "Usage"), ("emotion", "image"), ()])
def test_a_csv_with_other_columns_is_told(tmp_path, header):
    file = write_csv(tmp_path / "ckextended.csv", cells(), header)
    with pytest.raises(FerlibError, match=rf"{file}, line 1(?s:.*)emotion,pixels,Usage"):
        datasets.read(tmp_path)


def test_a_csv_that_is_none_is_told(tmp_path):
    (tmp_path / "ckextended.csv").write_bytes(b"emotion,pixels\n0,\xff\xfe\x00")
    with pytest.raises(FerlibError, match="row 1"):
        datasets.read(tmp_path)


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
    found = datasets.read(tmp_path)
    assert found.kind == "jaffe" and len(found.paths) == 14
    for path, name in shown(found).items():
        assert codes[os.path.basename(path)[3:5]] == EMOTIONS.index(name)
    assert [reason for _, reason in found.skipped] == ["not named as JAFFE's pictures are"]


def test_a_few_of_jaffes_among_others_are_sorted_by_their_folders(tmp_path):
    for name in ("KA.AN1.39.tiff", "a.png", "b.png"):
        save(tmp_path / "angry" / name, FACES["anger"][0])
    found = datasets.read(tmp_path)
    assert found.kind == "folders" and found.emotions == [4, 4, 4]


def test_ferg(tmp_path):
    words = dict(zip(SEVEN, SEVEN, strict=True)) | {"happiness": "joy"}
    for who in ("aia", "bonnie"):
        for name, word in words.items():
            path = tmp_path / "FERG_DB_256" / who / f"{who}_{word}" / f"{who}_{word}_1.png"
            save(path, FACES[name][0])
    for folder, n in ((".", 14), ("FERG_DB_256", 14), ("FERG_DB_256/aia", 7)):
        found = datasets.read(tmp_path / folder)
        assert found.kind == "ferg" and len(found.paths) == n
        for path, name in shown(found).items():
            assert f"_{words[name]}_1.png" in path


def test_names_are_for_plain_folders_only(tmp_path):
    ckplus(tmp_path)
    with pytest.raises(FerlibError, match="labels of its own"):
        datasets.read(tmp_path, "ckplus", {"x": "fear"})


# ---------------------------------------------------------------- measuring a net on them


@pytest.fixture(scope="module")
def fer():
    return Recognizer()


@pytest.fixture
def no_fer2013(tmp_path, monkeypatch):
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path))


def answers(file) -> list[dict[str, str]]:
    with open(file, newline="") as text:
        return list(csv.DictReader(text))


def test_crops_are_read_as_classify_reads_them(tmp_path, fer, no_fer2013):
    plain(tmp_path / "set")
    result = generalise.evaluate_folder(folder=tmp_path / "set", out=tmp_path / "answers.csv")
    wanted = fer.classify(np.concatenate([FACES[name] for name in sorted(EMOTIONS)]))
    rows = answers(tmp_path / "answers.csv")
    assert [row["truth"] for row in rows] == [name for name in sorted(EMOTIONS) for _ in range(3)]
    got = np.array([[float(row[name]) for name in EMOTIONS] for row in rows])
    np.testing.assert_allclose(got, wanted, atol=2e-6)
    assert [row["answer"] for row in rows] == [EMOTIONS[k] for k in wanted.argmax(axis=1)]
    right = [row["answer"] == row["truth"] for row in rows]
    assert result["accuracy"] == pytest.approx(np.mean(right), abs=1e-5)
    for k, name in enumerate(sorted(EMOTIONS)):
        assert result["per_emotion"][name] == pytest.approx(
            np.mean(right[3 * k : 3 * k + 3]), abs=1e-5
        )
    assert result["balanced_accuracy"] == pytest.approx(np.mean(right), abs=1e-5)
    assert np.sum(result["confusion"]) == result["n"] == result["cropped"] == 24
    assert result["not_found"] == 0 and result["unreadable"] == [] and result["kind"] == "folders"


def test_only_the_allowed_answers_are_given(tmp_path, no_fer2013):
    plain(tmp_path / "set")
    file, two = tmp_path / "answers.csv", ("fear", "contempt")
    result = generalise.evaluate_folder(folder=tmp_path / "set", emotions=two, out=file)
    for row in answers(file):
        assert row["answer"] == max(two, key=lambda name, row=row: float(row[name]))
    assert result["emotions"] == ["fear", "contempt"]
    assert result["per_emotion"]["happiness"] == 0
    with pytest.raises(FerlibError, match=r"'joy'.*happiness"):
        generalise.evaluate_folder(folder=tmp_path / "set", emotions=["joy"])


def test_flip_is_the_recognizers(tmp_path, no_fer2013):
    save(tmp_path / "set" / "fear" / "a.png", FACES["fear"][0])
    generalise.evaluate_folder(folder=tmp_path / "set", flip=True, out=tmp_path / "a.csv")
    wanted = Recognizer(flip=True).classify([FACES["fear"][0]])[0]
    got = [float(answers(tmp_path / "a.csv")[0][name]) for name in EMOTIONS]
    np.testing.assert_allclose(got, wanted, atol=2e-6)


def test_photographs_are_searched_and_a_face_not_found_is_wrong(tmp_path, fer, no_fer2013):
    photo, file = data.astronaut(), tmp_path / "answers.csv"
    small = np.asarray(Image.fromarray(photo[:300, 50:350]).resize((150, 150)))
    both = np.full((600, 1000, 3), 128, np.uint8)
    both[20:170, 20:170], both[60:572, 400:912] = small, photo
    for name, picture in (("a", photo), ("b", both)):
        save(tmp_path / "set" / "happy" / f"{name}.png", picture)
    save(tmp_path / "set" / "sad" / "none.png", np.full((200, 200), 90, np.uint8))
    result = generalise.evaluate_folder(folder=tmp_path / "set", out=file)
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
    assert result["not_found"] == len(lost) == 1 and result["n"] == 3 and result["cropped"] == 0
    right = sum(row["answer"] == row["truth"] for row in rows.values())
    assert result["accuracy"] == pytest.approx(right / 3, abs=1e-5)
    assert result["accuracy_where_found"] == right / 2 and result["per_emotion"]["sadness"] == 0
    assert np.sum(result["confusion"]) == 2
    assert result["counts"]["happiness"] == 2 and result["counts"]["sadness"] == 1


def test_how_to_come_to_a_face_can_be_said(tmp_path, no_fer2013):
    for side in (48, 100, 101):
        save(tmp_path / "happy" / f"{side}.png", sample.draw("happiness", RNG, size=side))
    save(tmp_path / "happy" / "wide.png", np.zeros((48, 60), np.uint8))
    cropped = {
        faces: generalise.evaluate_folder(folder=tmp_path, faces=faces)["cropped"]
        for faces in generalise.FACES
    }
    assert cropped == {"auto": 2, "crop": 4, "find": 0}
    with pytest.raises(FerlibError, match=r"'guess'.*crop"):
        generalise.evaluate_folder(folder=tmp_path, faces="guess")


def test_training_pictures_are_told_apart(tmp_path):
    votes = published.write_votes(tmp_path)
    text = published.text(published.rows())
    (tmp_path / "fer2013.csv").write_text(text)
    fer2013.prepare(tmp_path / "fer2013.csv", votes, tmp_path / "fer2013")
    train, other = published.PICTURES[[2, 5]], published.PICTURES[[8, 11]]
    save(tmp_path / "set" / "anger" / "train.png", train[0])
    save(tmp_path / "set" / "anger" / "train.bmp", np.repeat(train[1][..., None], 3, axis=2))
    save(tmp_path / "set" / "anger" / "valid.png", other[0])
    save(tmp_path / "set" / "fear" / "test.png", other[1])
    save(tmp_path / "set" / "fear" / "large.png", np.kron(train[0], np.ones((2, 2), np.uint8)))
    where = {"folder": tmp_path / "set", "faces": "crop", "data": tmp_path / "fer2013"}
    result = generalise.evaluate_folder(**where, out=tmp_path / "a.csv")
    same = result["training_pictures"]
    assert (same["compared"], same["n"]) == (4, 2)
    right = {r["path"]: r["answer"] == r["truth"] for r in answers(tmp_path / "a.csv")}
    rest = [hit for path, hit in right.items() if "train." not in path]
    assert same["accuracy_without"] == pytest.approx(np.mean(rest), abs=1e-5)
    assert "2 are FER2013's own training pictures" in generalise.report(result)


def test_without_fer2013_that_is_said(tmp_path, no_fer2013):
    save(tmp_path / "set" / "fear" / "a.png", FACES["fear"][0])
    result = generalise.evaluate_folder(folder=tmp_path / "set")
    assert result["training_pictures"]["n"] is None
    assert "not compared" in generalise.report(result)
    with pytest.raises(FerlibError, match="nowhere"):
        generalise.evaluate_folder(folder=tmp_path / "set", data=tmp_path / "nowhere")


@pytest.mark.skipif("FERLIB_DATA" not in os.environ, reason="needs FER2013 (FERLIB_DATA)")
def test_validation_faces_as_a_folder_score_as_they_do_in_the_split(tmp_path):
    real = fer2013.load()
    pictures, votes, rows = real.split("valid")
    new = np.flatnonzero(~real.also_in("train")[rows])[:240]
    truth = labels.majority(votes[new])
    for row, emotion in zip(new, truth, strict=True):
        save(tmp_path / "valid" / EMOTIONS[emotion] / f"{row}.png", pictures[row])
    for row in np.flatnonzero(real.usage == 0)[:20]:
        save(tmp_path / "train" / "neutral" / f"{row}.png", real.pictures[row])
    result = generalise.evaluate_folder(folder=tmp_path)
    scores = Recognizer().classify(pictures[new])
    wanted = np.mean(scores.argmax(axis=1) == truth)
    assert result["training_pictures"]["n"] == 20 and result["n"] == 260
    assert result["training_pictures"]["accuracy_without"] == pytest.approx(wanted, abs=1e-5)
    assert wanted > 0.7


def test_adapting_finds_the_frequencies_and_bayes_answers():
    rng = np.random.default_rng(0)
    usual, here = np.array([0.6, 0.3, 0.05, 0.05]), np.array([0.05, 0.15, 0.4, 0.4])
    truth = rng.choice(4, 4000, p=here)
    points = np.eye(4)[truth] * 2 + rng.normal(size=(4000, 4))  # four Gaussians, deviation 1

    def posterior(prior):
        likely = np.exp(2 * points) * prior  # of each mean, without what they share
        return likely / likely.sum(axis=1, keepdims=True)

    adapted = generalise.adapt(posterior(usual), usual)
    np.testing.assert_allclose(adapted.mean(axis=0), here, atol=0.02)
    best = np.mean(posterior(here).argmax(axis=1) == truth)
    assert np.mean(posterior(usual).argmax(axis=1) == truth) < best - 0.1
    assert np.mean(adapted.argmax(axis=1) == truth) > best - 0.01


def test_adapted_figures_are_told_beside_the_plain_ones(tmp_path, fer, no_fer2013, monkeypatch):
    plain(tmp_path / "set")
    monkeypatch.setattr(generalise, "ENOUGH", 24)
    shutil.copytree(
        fer.weights[0].parent, tmp_path / "nets", ignore=shutil.ignore_patterns("*.mar")
    )
    file = tmp_path / "nets" / f"{fer.name}.json"
    info = json.loads(file.read_text()) | {"shares": [0.3, 0.3, 0.1, 0.1, 0.1, 0.04, 0.04, 0.02]}
    file.write_text(json.dumps(info))
    where = {"weights": tmp_path / "nets" / fer.name, "folder": tmp_path / "set"}
    result = generalise.evaluate_folder(**where)
    scores = fer.classify(np.concatenate([FACES[name] for name in sorted(EMOTIONS)]))
    truth = np.repeat([EMOTIONS.index(name) for name in sorted(EMOTIONS)], 3)
    assert result["accuracy"] == pytest.approx(np.mean(scores.argmax(axis=1) == truth), abs=1e-5)
    weighted = generalise.adapt(scores.astype(float), np.array(info["shares"]))
    wanted = np.mean(weighted.argmax(axis=1) == truth)
    assert result["adapted"]["accuracy"] == pytest.approx(wanted, abs=1e-5)
    assert sum(result["adapted"]["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert "without labels" in generalise.report(result)
    monkeypatch.setattr(generalise, "ENOUGH", 25)
    assert generalise.evaluate_folder(**where)["adapted"] is None


@pytest.mark.parametrize("kind", ["ckplus", "ckextended", "jaffe", "ferg"])
def test_every_layout_is_measured(tmp_path, kind, no_fer2013):
    if kind == "ckplus":
        ckplus(tmp_path)
    elif kind == "ckextended":
        write_csv(tmp_path / "ckextended.csv", cells())
    elif kind == "jaffe":
        save(tmp_path / "KA.AN1.39.tiff", FACES["anger"][0])
    else:
        save(tmp_path / "aia" / "aia_joy" / "aia_joy_1.png", FACES["happiness"][0])
    result = generalise.evaluate_folder(folder=tmp_path)
    assert result["kind"] == kind
    assert result["n"] == {"ckplus": 15, "ckextended": 8, "jaffe": 1, "ferg": 1}[kind]
    assert json.loads(json.dumps(result)) == json.loads(json.dumps(result, allow_nan=False))
    assert kind in generalise.report(result)


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


def test_the_good_ones_are_measured_and_the_others_told(tmp_path):
    words = ["evaluate", "--folder", str(spoilt(tmp_path / "set")), "--json", "--out"]
    run = ferlib(*words, str(tmp_path / "a.csv"), FERLIB_DATA=str(tmp_path))
    assert "cut.png (and 2 more)" in mistake(run, 1)
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["n"] == 3
    names = [os.path.basename(path) for path, _ in result["unreadable"]]
    assert names == ["cut.png", "empty.jpg", "text.gif"]
    assert len(answers(tmp_path / "a.csv")) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "set"]


def test_a_mapping_and_a_report_on_the_command_line(tmp_path):
    folder = plain(tmp_path / os.fsdecode(b"caf\xe9"), lambda name: f"the_{name}")
    maps = [word for name in EMOTIONS for word in ("--map", f"the_{name}={name}")]
    out = ["--out", str(tmp_path / "a.csv")]
    run = ferlib("evaluate", "--folder", str(folder), *maps, *out, FERLIB_DATA=str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert b"caf\xe9/the_fear/0.png" in (tmp_path / "a.csv").read_bytes()
    assert "n = 24: 24 crops" in run.stdout and "contempt" in run.stdout


@pytest.mark.parametrize("spoiling", ["folder", "absent folder", "all unreadable", "unknown"])
def test_mistakes_are_two_plain_lines_and_leave_no_file(tmp_path, spoiling):
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
    run = ferlib("evaluate", "--folder", str(folder), "--out", str(out), "--json")
    said = {"all unreadable": "none of the 6 pictures", "unknown": "--map bored="}
    assert said.get(spoiling, "cannot write") in mistake(run, 1)
    assert run.stdout == "" and not list(tmp_path.glob("out/*.csv*[!v]"))
    assert not out.is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--folder", "x", "--split", "valid"), "--split does not go with --folder"),
        (("--folder", "x", "--protocol", "label.csv"), "--protocol"),
        (("--kind", "jaffe"), "--kind works only with --folder"),
        (("--faces", "crop"), "--faces"),
        (("--map", "a=fear"), "--map"),
        (("--emotions", "fear"), "--emotions"),
        (("--out", "x"), "--out"),
        (("--folder", "x", "--map", "fear"), "NAME=EMOTION"),
        (("--folder", "x", "--map", "a=dull"), "NAME=EMOTION"),
        (("--folder", "x", "--emotions", "joy"), "happiness"),
        (("--folder", "x", "--kind", "ck"), "ckplus"),
    ],
)
def test_what_does_not_go_together_is_exit_2(words, said):
    assert said in mistake(ferlib("evaluate", *words), 2)


def test_answers_are_written_over_nobodys_file(tmp_path):
    folder, photo = plain(tmp_path / "set"), tmp_path / "photo.jpg"
    photo.write_bytes(b"a photograph")
    run = ferlib("evaluate", "--folder", str(folder), "--out", str(photo))
    assert "holds no answers" in mistake(run, 1)
    assert photo.read_bytes() == b"a photograph"
