"""The assembled package, run by AWS's own client in a process of its own, and what is around it.

The package is built once, by pip for Lambda's Python where this machine has it, else for this one;
nothing but the package can be imported in that process.
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from common import ROOT, astronaut, encoded
from events import FACE, FORM, NOBODY, form, http, rest, text

from ferlib import Recognizer
from ferlib.serving import fetch

HERE = ROOT / "deploy" / "lambda"
sys.path[:0] = [str(ROOT / "benchmarks"), str(HERE)]
import pack  # noqa: E402
import setup  # noqa: E402
import try_pythons  # noqa: E402
from lambda_api import Lambda  # noqa: E402
from unlink import Library  # noqa: E402

VALIDATOR = jsonschema.Draft202012Validator(
    json.loads((ROOT / "ferlib" / "serving" / "schema.json").read_text())
)
NEAR = 1e-3


@pytest.fixture(scope="module")
def python() -> tuple[str, str]:
    """(version, path) of the Python that the package is for."""
    found = try_pythons.find(pack.PYTHON)
    here = ".".join(map(str, sys.version_info[:2]))
    return (pack.PYTHON, found) if found else (here, sys.executable)


@pytest.fixture(scope="module")
def package(python, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lambda") / "package"
    try:
        pack.assemble(folder, python[0], "x86_64", container=True)
    except setup.SetupError as error:
        pytest.skip(f"the packages cannot be had: {str(error).splitlines()[0]}")
    return folder


@pytest.fixture(scope="module")
def function(package, python):
    with Lambda(package, python[1]) as function:
        yield function


@pytest.fixture(scope="module")
def fer():
    """In float32, as onnxruntime computes."""
    return Recognizer(precision="float32")


# ---------------------------------------------------------------- the package


@pytest.mark.slow
def test_the_package_is_small_whole_and_lambdas_own(package):
    assert pack.sizes(package).total() < pack.MOST
    assert {file.name for file in (package / "model_store").iterdir()} == {
        "ferplus.onnx", "roll.onnx", "faces.onnx"
    }  # fmt: skip
    versions = {}
    for file in package.glob("*.dist-info/METADATA"):
        told = file.read_text()
        name, version = (re.search(rf"^{key}: (.*)$", told, re.M)[1] for key in ("Name", "Version"))
        versions[re.sub(r"[-_.]+", "-", name).lower()] = version
    pins = setup.read_pins(HERE / "requirements.txt")
    assert versions == pins | setup.read_pins(HERE / "requirements-container.txt")
    same = setup.read_pins(ROOT / "requirements.txt")
    assert {name for name, version in pins.items() if same[name] != version} == {"numpy"}


@pytest.mark.slow
def test_the_libraries_left_out_are_asked_for_no_more(package):
    """Held against readelf; cv2 itself runs in the tests below."""
    if not shutil.which("readelf"):
        pytest.skip("readelf is not installed (Debian: apt-get install binutils)")
    (module,) = (package / "cv2").glob("cv2.*.so")
    told = subprocess.run(["readelf", "-dW", module], capture_output=True, text=True, check=True)
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", told.stdout)
    assert needed == Library(module.read_bytes()).needed
    assert not [name for name in needed if re.match("libav|libsw|libopenblas", name)]
    beside = {file.name for file in (package / "opencv_python_headless.libs").iterdir()}
    assert beside <= set(needed)


def test_only_shared_libraries_are_changed():
    with pytest.raises(ValueError, match="no shared library"):
        Library(gzip.compress(b"x" * 99))


@pytest.mark.slow
def test_a_build_that_fails_leaves_what_was_there(package, tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(setup.SetupError, match="another place"):
        pack.assemble(tmp_path, "3.13", "x86_64")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(setup.SetupError, match="another place"):  # it holds a function.py as well
        pack.assemble(HERE, "3.13", "x86_64")

    def fails(*_, **__):
        raise setup.SetupError("no registry")

    monkeypatch.setattr(pack, "install", fails)
    with pytest.raises(setup.SetupError, match="no registry"):
        pack.assemble(package, "3.13", "x86_64")
    assert (package / "function.py").is_file()


# ---------------------------------------------------------------- as Lambda runs it


@pytest.mark.slow
def test_every_form_of_event_is_answered_as_recognizer_reads_it(function, fer):
    (face,) = fer(FACE)
    for event in (
        {"image": text(FACE)},
        rest(text(FACE)),
        http(text(FACE)),
        http(text(form(FACE)), FORM),
        rest(json.dumps({"image": text(FACE)}), "application/json", is_base64=False),
    ):
        told = function.ask(event)
        assert told.kind == "response"
        answer = told.answer
        if "requestContext" in event:
            assert answer["statusCode"] == 200
            answer = json.loads(answer["body"])
        VALIDATOR.validate(answer)
        (mine,) = answer["faces"]
        assert mine["box"] == list(face.box) and mine["roll"] == face.roll
        assert mine["landmarks"] == [list(point) for point in face.landmarks]
        assert mine["scores"] == pytest.approx(face.scores, abs=NEAR)


@pytest.mark.slow
def test_photographs_of_many_kinds_are_read_as_by_recognizer(function, fer):
    """Large and small, tilted, several faces, gray, none: each way that faces are looked for."""
    from PIL import Image

    whole = Image.fromarray(astronaut())
    crowd = Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8))
    for place, side in (((30, 60), 200), ((450, 90), 330), ((200, 420), 260)):
        crowd.paste(whole.resize((side, side)), place)
    pictures = [whole.resize((2600, 2600)), whole.resize((150, 150)), whole.convert("L")]
    pictures += [whole.rotate(-28), whole.rotate(30), crowd, whole.crop((0, 250, 500, 512))]
    sent = [encoded(one, "JPEG", quality=90) for one in pictures]
    answer = function.ask({"pictures": [text(one) for one in sent]}).answer
    VALIDATOR.validate(answer)
    counts = []
    for mine, faces in zip(answer["pictures"], fer.many(sent), strict=True):
        counts.append(len(faces))
        assert [one["box"] for one in mine["faces"]] == [list(one.box) for one in faces]
        for one, face in zip(mine["faces"], faces, strict=True):
            assert one["scores"] == pytest.approx(face.scores, abs=NEAR)
    assert max(counts) >= 3 and min(counts) == 0


@pytest.mark.slow
def test_bad_events_are_answered_and_the_next_good_one_is_read(function):
    bad = {
        b"{": None, b"": None, b"\xff\xfe": None, b"[" * 5000: None,  # the client itself refuses
        b"null": "bad_request", b'"text"': "bad_request", b"[1]": "bad_request", b"{}": "bad_json",
        json.dumps({"image": "?"}).encode(): "not_a_picture",
        json.dumps({"image": text(FACE[:5000])}).encode(): "truncated_picture",
        json.dumps({"url": "http://127.0.0.1/"}).encode(): "bad_url",
        json.dumps({"url": "http://169.254.169.254/latest/meta-data/"}).encode(): "bad_url",
        json.dumps({"url": "http://[::ffff:7f00:1]:80/"}).encode(): "bad_url",
    }  # fmt: skip
    for event, code in bad.items():
        told = function.ask(event)
        if code is None:
            assert told.kind == "error" and "errorMessage" in told.answer
        else:
            VALIDATOR.validate(told.answer)
            assert told.kind == "response" and told.answer["error"]["code"] == code
        assert "whole_picture" in function.ask({"image": text(NOBODY)}).answer
    assert function.process.poll() is None


@pytest.mark.slow
def test_a_process_that_is_killed_is_replaced_by_one_that_answers(function):
    before = function.ask({"image": text(FACE)}).answer
    function.give({"image": text(FACE)})  # it dies over this one, or just before
    function.end()
    assert function.process.returncode == -9
    function.forget()
    function.start()
    assert function.ask({"image": text(FACE)}).answer == before


@pytest.mark.slow
def test_a_package_without_its_net_says_so_once(package, python, tmp_path):
    folder = shutil.copytree(package, tmp_path / "package", copy_function=os.link)
    (folder / "model_store" / "ferplus.onnx").unlink()
    with Lambda(folder, python[1]) as function:
        told = function.ask({"image": text(FACE)})
        assert told.kind == "init" and "ferplus.onnx is missing" in told.answer["errorMessage"]
        assert function.process.wait(timeout=10) == 1


# ---------------------------------------------------------------- the papers


def cfn_lint(file: Path) -> subprocess.CompletedProcess:
    command = [Path(sys.executable).parent / "cfn-lint", "--include-checks", "I", "--template"]
    return subprocess.run([*command, file], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_cloudformations_linter_has_nothing_to_say(tmp_path):
    done = cfn_lint(HERE / "template.yaml")
    assert done.returncode == 0, done.stdout
    wrong = (HERE / "template.yaml").read_text().replace("MemorySize", "MemorySiez")
    (tmp_path / "wrong.yaml").write_text(wrong)
    assert "MemorySiez" in cfn_lint(tmp_path / "wrong.yaml").stdout  # the check does look


class _Tags(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, each as {its name: its value}."""


_Tags.add_multi_constructor("!", lambda loader, name, node: {name: loader.construct_scalar(node)})


@pytest.fixture(scope="module")
def resources() -> dict[str, dict]:
    template = yaml.load((HERE / "template.yaml").read_text(), _Tags)
    return {name: one["Properties"] for name, one in template["Resources"].items()}


def test_the_function_may_write_its_log_and_nothing_else(resources):
    role = resources["Role"]
    assert "ManagedPolicyArns" not in role
    (policy,) = role["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Resource"] == {"GetAtt": "Log.Arn"}
    assert set(statement["Action"]) == {"logs:CreateLogStream", "logs:PutLogEvents"}
    (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert "*" not in (HERE / "template.yaml").read_text()
    assert resources["Log"]["RetentionInDays"]


def test_the_template_names_what_the_package_is(resources):
    reader = resources["Reader"]
    assert reader["Runtime"] == f"python{pack.PYTHON}" and reader["Handler"] == "function.handle"
    assert "handle =" in (HERE / "function.py").read_text()
    assert (HERE / reader["CodeUri"]).resolve() == ROOT / "build" / "lambda"
    assert reader["FunctionUrlConfig"] == {"AuthType": "AWS_IAM"}
    assert reader["ReservedConcurrentExecutions"] == {"Ref": "AtOnce"}
    assert reader["Timeout"] > fetch.Rules().seconds + 10


DOCKERFILES = sorted(
    path for path in (ROOT / "deploy").rglob("Dockerfile*") if path.suffix != ".dockerignore"
)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_hadolint_has_nothing_to_say(file, tmp_path):
    config = ROOT / "deploy" / "hadolint.yaml"
    command = [Path(sys.executable).parent / "hadolint", "--config", config]
    done = subprocess.run([*command, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    worse = tmp_path / "Dockerfile"
    worse.write_text(file.read_text() + "RUN cd /tmp && sudo ls\n")
    done = subprocess.run([*command, worse], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "DL3004" in done.stdout  # the check does look


def test_every_image_copies_what_there_is_and_what_is_let_through():
    for file in DOCKERFILES:
        text = file.read_text()
        let = (file.parent / f"{file.name}.dockerignore").read_text().splitlines()
        copied = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.*)$", text, re.MULTILINE)
        for name in [name for words in copied for name in words.split()[:-1]]:
            assert (ROOT / name).exists()
            assert "*" not in let or f"!{name}" in let
        assert re.findall(r"^USER ", text, re.MULTILINE)


def test_the_image_runs_the_package_as_nobody():
    text = (HERE / "Dockerfile").read_text()
    assert text.rindex("USER 10001:10001") > text.rindex("RUN")
    assert f"FROM python:{pack.PYTHON}-slim" in text and "--container" in text
    assert '"awslambdaric"' in text and 'CMD ["function.handle"]' in text
