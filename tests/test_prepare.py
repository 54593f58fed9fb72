"""`ferlib prepare` as a person runs it: what it prints, and what it says of files gone wrong."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import ferlib, mistake, no_file_larger_than
from published import NEW_HEADER, lines, new_lines, rows, text, write_archive, write_votes

ROOT = Path(__file__).resolve().parents[1]
DATA = os.environ.get("FERLIB_DATA")
real = pytest.mark.skipif(not DATA, reason="FERLIB_DATA does not name the published data")
PARTS = ("Train", "Valid", "Test")


def run(fer2013, ferplus, out, *more):
    return ferlib("prepare", "--fer2013", fer2013, "--ferplus", ferplus, "--out", out, *more)


def refused(done, out, *expected):
    """Exit 1, one or two plain lines that say `expected`, and nothing left in `out`."""
    said = mistake(done)
    assert "object at" not in said
    for words in expected:
        assert words in said, said
    assert not out.exists() or not any(out.iterdir())


@pytest.fixture
def folder(tmp_path):
    """fer2013.csv and the votes, all of it well."""
    write_votes(tmp_path)
    (tmp_path / "fer2013.csv").write_text(text(rows()))
    return tmp_path


@pytest.fixture
def out(folder):
    return folder / "out" / "data"


def test_prepare_prints_the_counts(folder, out):
    done = run(folder / "fer2013.csv", folder / "fer2013new.csv", out, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [file.name for file in out.iterdir()] == ["fer2013.npz"]
    assert "PrivateTest rows that also occur in Training: 1\n" in done.stdout
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["fer2013new.csv"]["train"]["rows"] == 8
    assert counts["fer2013new.csv"]["train"]["kept"] == 6


def test_a_folder_of_votes_means_label_csv(folder, out):
    done = run(folder / "fer2013.csv", folder, out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("votes of label.csv")


# ---------------------------------------------------------------- the pictures


def spoilt(row, **cells):
    changed = rows()
    changed[row] = changed[row] | cells
    return text(changed)


def with_pixel(row, position, value):
    pixels = rows()[row]["pixels"].split()
    return spoilt(row, pixels=" ".join([*pixels[:position], *value, *pixels[position + 1 :]]))


PAGE = "<!DOCTYPE html>\n<html><head><title>Login | Kaggle</title></head></html>\n"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:3b8d\nsize 301072766\n"
WHOLE = text(rows())
NOT_FER2013 = {
    "empty": ("", ["is empty"]),
    "header alone": ("emotion,pixels,Usage\n", ["no rows"]),
    "lfs pointer": (POINTER, ["Git LFS pointer", "git lfs pull"]),
    "login page": (PAGE, ["a web page"]),
    "binary": ("\x7fELF\x00\x01\x02", ["binary file"]),
    "zip": ("PK\x03\x04\x14\x00", ["zip archive", "Unpack it"]),
    "wrong header": (WHOLE.replace("pixels", "image", 1), ["line 1", "emotion,pixels,Usage"]),
    "no header": ("\n".join(lines(rows())[1:]), ["line 1", "Expected emotion,pixels,Usage"]),
    "column twice": ("pixels,pixels\n1,2\n", ["line 1"]),
    "2303 pixels": (with_pixel(4, 7, []), ["row 5 (line 6)", "2303 pixels where 2304"]),
    "2305 pixels": (with_pixel(4, 7, ["7", "7"]), ["row 5 (line 6)", "2305 pixels"]),
    "256": (with_pixel(11, 99, ["256"]), ["row 12 (line 13)", "pixel 100 is '256'", "0 to 255"]),
    "999": (with_pixel(0, 0, ["999"]), ["row 1 (line 2)", "pixel 1 is '999'"]),
    "four digits": (with_pixel(14, 2303, ["1234"]), ["row 15 (line 16)", "pixel 2304 is '1234'"]),
    "text": (with_pixel(2, 5, ["abc"]), ["row 3 (line 4)", "pixel 6 is 'abc'"]),
    "minus": (with_pixel(2, 5, ["-1"]), ["row 3 (line 4)", "pixel 6 is '-1'"]),
    "fraction": (with_pixel(2, 5, ["1.5"]), ["pixel 6 is '1.5'"]),
    "digits of another script": (with_pixel(2, 5, ["٣"]), ["row 3 (line 4)", "pixel 6"]),
    "no pixels": (spoilt(6, pixels=""), ["row 7 (line 8)", "0 pixels"]),
    "unknown usage": (spoilt(3, Usage="Testing"), ["row 4 (line 5)", "'Testing'", "PrivateTest"]),
    "unknown emotion": (spoilt(3, emotion="7"), ["row 4 (line 5)", "'7'", "0 to 6"]),
    "cut in the pixels": (WHOLE[:-3000], ["row 15 (line 16)", "2 columns where 3", "cut short"]),
    "cut in the usage": (WHOLE[:-5], ["row 15 (line 16)", "'Private'", "cut short"]),
    "cut after Training": (text(rows()[:8]), ["8 pictures", "15", "cut short"]),
    "cut between rows": (text(rows()[:-1]), ["14 pictures", "15", "cut short"]),
    "one line without end": ("emotion,pixels,Usage\n" + "1 " * 900_000, ["row 1 (line 2)"]),
    "shuffled usage": (text(rows()[::-1]), ["row 1 (line 2)", "Training", "PrivateTest"]),
}


@pytest.mark.parametrize("case", NOT_FER2013)
def test_bad_pictures(case, folder, out):
    content, expected = NOT_FER2013[case]
    (folder / "fer2013.csv").write_text(content)
    refused(run(folder / "fer2013.csv", folder / "fer2013new.csv", out), out, *expected)
    assert not out.parent.exists()


def test_no_such_file(folder, out):
    missing = folder / "nowhere.csv"
    refused(run(missing, folder, out), out, f"no such file: {missing}")
    refused(run(folder / "fer2013.csv", missing, out), out, f"no such file: {missing}")


def test_a_folder_without_pictures(folder, out):
    refused(run(folder / "FER2013Test", folder, out), out, "holds no FER2013")


@pytest.fixture
def archive(folder):
    return write_archive(folder / "fer2013.tar.gz", WHOLE.encode())


def test_a_cut_archive_wherever_it_is_cut(archive, folder, out):
    whole = archive.read_bytes()
    assert run(archive, folder, out).returncode == 0
    (out / "fer2013.npz").unlink()
    for length in (1, 9, 300, len(whole) // 2, len(whole) - 60, len(whole) - 1):
        archive.write_bytes(whole[:length])
        refused(run(archive, folder, out), out, str(archive))


def test_a_corrupt_archive(archive, folder, out):
    whole = bytearray(archive.read_bytes())
    for at in (len(whole) // 3, len(whole) // 2, len(whole) - 6):
        archive.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        refused(run(archive, folder, out), out, str(archive))


def test_the_checksum_at_the_far_end_of_an_archive(folder, out):
    """Two megabytes after the CSV: it is read to its end, or damage would go unseen."""
    rest = random.Random(0).randbytes(2_000_000)
    archive = write_archive(folder / "fer2013.tar.gz", WHOLE.encode(), rest=rest)
    whole = bytearray(archive.read_bytes())
    whole[-6] ^= 1
    archive.write_bytes(whole)
    refused(run(archive, folder, out), out, "damaged", "CRC")


def test_an_archive_of_something_else(folder, out):
    other = write_archive(folder / "fer2013.tar.gz", WHOLE.encode(), "cifar/data.csv")
    refused(run(other, folder, out), out, "an archive without fer2013.csv", "fer2013.tar.gz")


def test_a_login_page_saved_as_the_archive(folder, out):
    (folder / "fer2013.tar.gz").write_text(PAGE)
    refused(run(folder / "fer2013.tar.gz", folder, out), out, "a web page")


def test_a_bad_row_in_the_archive(folder, out):
    archive = write_archive(folder / "fer2013.tar.gz", with_pixel(11, 99, ["256"]).encode())
    refused(run(archive, folder, out), out, "row 12 (line 13)", "'256'")


# ---------------------------------------------------------------- the votes


def votes(row=None, old="", new=""):
    found = new_lines()
    if row is not None:
        assert old in found[row]
        found[row] = found[row].replace(old, new, 1)
    return "\n".join(found) + "\n"


NOT_VOTES = {
    "empty": ("", ["is empty"]),
    "header alone": (NEW_HEADER, ["no rows"]),
    "lfs pointer": (POINTER, ["git lfs pull"]),
    "login page": (PAGE, ["a web page"]),
    "binary": ("Usage\x00", ["binary file"]),
    "the pictures instead": (WHOLE, ["line 1", "Expected Usage,Image name"]),
    "label.csv instead": ('a.png,"(0, 0, 48, 48)",1,0,0,0,0,0,0,0,0,0\n', ["line 1", "Expected"]),
    "too few": ("\n".join(new_lines()[:-1]), ["15 pictures", "14", "cut short"]),
    "too many": (votes() + new_lines()[-1], ["15 pictures", "16", "cut short"]),
    "eleven columns": (votes(3, "Training,", ""), ["row 3 (line 4)", "11 columns", "12"]),
    "a column too many": (votes(3, "Training,", "Training,,"), ["row 3 (line 4)", "13 columns"]),
    "negative": (votes(3, ",8,", ",-8,"), ["row 3 (line 4)", "'-8'", "whole number"]),
    "fraction": (votes(3, ",8,", ",8.0,"), ["row 3 (line 4)", "'8.0'"]),
    "text": (votes(3, ",8,", ",many,"), ["row 3 (line 4)", "'many'"]),
    "huge": (votes(3, ",8,", ",800,"), ["row 3 (line 4)", "'800'"]),
    "unknown usage": (votes(3, "Training", "Training2"), ["row 3 (line 4)", "'Training2'"]),
    "shuffled": ("\n".join([NEW_HEADER, *new_lines()[:0:-1]]), ["row 1 (line 2)", "own order"]),
    "cut in a row": (votes()[:-9], ["row 15 (line 16)", "columns"]),
    "an open quote": (votes(3, "Training", '"' + "x" * 140_000), ["fer2013new.csv"]),
}


@pytest.mark.parametrize("case", NOT_VOTES)
def test_bad_votes(case, folder, out):
    content, expected = NOT_VOTES[case]
    new = folder / "fer2013new.csv"
    new.write_text(content)
    refused(run(folder / "fer2013.csv", new, out), out, *expected)


def test_shuffled_votes_of_test_csv(folder, out):
    """test.csv names no Usage, but no row of Training can belong to it."""
    (folder / "test.csv").write_text(text(rows()[8:], "pixels"))
    (folder / "train.csv").write_text(text(rows()[:8], "emotion,pixels"))
    assert run(folder / "test.csv", folder, out).returncode == 0
    (out / "fer2013.npz").unlink()
    (folder / "fer2013new.csv").write_text("\n".join([NEW_HEADER, *new_lines()[:0:-1]]))
    done = run(folder / "test.csv", folder / "fer2013new.csv", out)
    refused(done, out, "row 1 (line 2)", "own order")
    (folder / "fer2013new.csv").write_text(votes(10, "PublicTest", "Training"))
    done = run(folder / "test.csv", folder / "fer2013new.csv", out)
    refused(done, out, "row 10 (line 11)", "is a test picture")


def test_a_folder_without_fer2013new(folder, out):
    (folder / "fer2013new.csv").unlink()
    refused(run(folder / "fer2013.csv", folder, out), out, "fer2013new.csv", "FERPlus")


LABELS = {
    "missing": (None, ["no such file", "give that file itself"]),
    "cut to two rows": (
        lambda text: "".join(text.splitlines(keepends=True)[:2]),
        ["has no row for 2 of 4 pictures, the first is fer0000011.png", "download it again"],
    ),
    "without its first row": (
        lambda text: text.partition("\n")[2],
        ["no row for 1 of 4 pictures, the first is fer0000009.png"],
    ),
    "a stranger's name": (lambda text: text.replace("fer0000012", "fer0000099"), ["row 4 (line"]),
    "another split's name": (lambda text: text.replace("fer0000012", "fer0000007"), ["Private"]),
    "a name twice": (lambda text: text + text, ["row 5 (line 5)", "second time"]),
    "eleven columns": (
        lambda text: text.replace(",0\n", "\n", 1),
        ["row 1 (line 1)", "11 columns"],
    ),
    "text": (lambda text: text.replace(",7,", ",x,"), ["row 4 (line 4)", "'x'"]),
    "lfs pointer": (lambda text: POINTER, ["git lfs pull"]),
}


@pytest.mark.parametrize("case", LABELS)
def test_bad_label_csv(case, folder, out):
    change, expected = LABELS[case]
    path = folder / "FER2013Test" / "label.csv"
    if change is None:
        path.unlink()
    else:
        path.write_text(change(path.read_text()))
    refused(run(folder / "fer2013.csv", folder, out), out, str(path), *expected)


# ---------------------------------------------------------------- the output


def test_out_that_is_a_file(folder):
    file = folder / "out"
    file.write_text("mine")
    for out in (file, file / "data"):
        assert str(file) in mistake(run(folder / "fer2013.csv", folder, out))
    assert file.read_text() == "mine"


def test_a_failure_leaves_what_was_there(folder, out):
    assert run(folder / "fer2013.csv", folder, out).returncode == 0
    before = (out / "fer2013.npz").read_bytes()
    (folder / "fer2013.csv").write_text(WHOLE[:-3000])
    assert run(folder / "fer2013.csv", folder, out).returncode == 1
    assert [file.name for file in out.iterdir()] == ["fer2013.npz"]
    assert (out / "fer2013.npz").read_bytes() == before


def test_a_full_disk(folder):
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a small tmpfs")
    except FileNotFoundError:
        pytest.skip("needs mount")
    try:
        for out in (disk, disk / "new" / "data"):
            done = run(folder / "fer2013.csv", folder, out)
            refused(done, out, f"cannot write {out}", "the disk is full")
            assert not any(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_too_large_for_the_disk(folder, out):
    """What a full disk does: the file stops at 8 kB."""
    with no_file_larger_than(8192):
        done = run(folder / "fer2013.csv", folder, out)
    refused(done, out, f"cannot write {out}")
    assert not out.parent.exists()


def test_wrong_usage_is_exit_2(folder, out):
    assert "--fer2013" in mistake(ferlib("prepare"), 2)


# ---------------------------------------------------------------- the published data themselves


@real
def test_a_published_label_csv_cut_at_the_end_of_a_line(tmp_path):
    folder = tmp_path / "ferplus"
    for name in ("fer2013new.csv", *(f"FER2013{part}/label.csv" for part in PARTS)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(os.path.join(DATA, name), folder / name)
    cut = folder / "FER2013Train" / "label.csv"
    cut.write_text("".join(cut.read_text().splitlines(keepends=True)[:3000]))
    expected = "no row for 25558 of 28558 pictures"
    refused(run(DATA, folder, tmp_path / "data"), tmp_path / "data", str(cut), expected)


# getrusage counts what the parent had before exec, too.
AND_ITS_MEMORY = """if True:
    import sys
    from ferlib.cli.main import main
    status = main(sys.argv[1:])
    print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0], file=sys.stderr)
    sys.exit(status)"""


@real
@pytest.mark.slow
def test_the_published_data_in_less_than_a_gigabyte(tmp_path):
    words = ["--fer2013", DATA, "--ferplus", DATA, "--out", tmp_path / "data", "--json"]
    command = [sys.executable, "-c", AND_ITS_MEMORY, "prepare", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stderr) < 1_000_000  # kB, and no progress bar where no person watches
    size = (tmp_path / "data" / "fer2013.npz").stat().st_size
    assert f"({size / 1e6:.1f} MB" in (ROOT / "data" / "README.md").read_text()
    assert "PublicTest rows that also occur in Training: 280\n" in done.stdout
    assert "PrivateTest rows that also occur in Training: 288\n" in done.stdout
    counts = json.loads(done.stdout.splitlines()[-1])
    kept = {name: [part["kept"] for part in counts[name].values()] for name in counts}
    assert kept["label.csv"] == [25045, 3191, 3137]
    assert kept["fer2013new.csv"][2] == 3153
