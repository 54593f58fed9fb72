"""The function for AWS Lambda: every form of event, and every bad one, without Lambda.

tests/test_lambda.py runs it as Lambda does.
"""

import functools
import json
import socket
from types import SimpleNamespace

import jsonschema
import pytest
from common import ROOT, any_weights
from events import FACE, FORM, NOBODY, form, http, rest, text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferlib import Recognizer
from ferlib.errors import FerlibError
from ferlib.serving import fetch, function, handler, onnx

VALIDATOR = jsonschema.Draft202012Validator(
    json.loads((ROOT / "ferlib" / "serving" / "schema.json").read_text())
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    onnx.export(any_weights(folder), folder / "ferplus.onnx")
    onnx.export("roll", folder / "roll.onnx")
    onnx.export_detector(folder / "faces.onnx")
    return folder


@pytest.fixture(scope="module")
def fer(folder):
    return Recognizer(folder / "ferplus.onnx", detector=folder / "faces.onnx")


@pytest.fixture(scope="module")
def ask(folder):
    """Events in, answers out, each held against the schema; addresses are photos.example's."""
    bodies = {"/face.jpg": FACE, "/page": b"<html>", "/list": json.dumps([text(FACE)]).encode()}

    def resolve(_host, port, **_):
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port))]

    handle = function.load(folder)

    def fetched(url, rules):
        assert rules == fetch.Rules()
        path = url.removeprefix("http://photos.example")
        return bodies[path] if path in bodies else fetch.fetch(url, fetch.Rules(resolve=resolve))

    def ask(event):
        told = handle(event, SimpleNamespace(aws_request_id="x"))
        json.dumps(told)
        if "statusCode" not in told:
            VALIDATOR.validate(told)
            return told
        answer = json.loads(told["body"])
        VALIDATOR.validate(answer)
        assert told["headers"]["Content-Type"] == "application/json"
        assert not told["isBase64Encoded"] and ("error" in answer) == (told["statusCode"] != 200)
        return told["statusCode"], answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(function, "fetch", fetched)
        yield ask


KINDS = pytest.mark.parametrize("wrapped", [rest, http], ids=["REST", "HTTP and function URL"])


def as_recognizer_says(answer: dict, fer) -> None:
    (mine,), (face,) = answer["faces"], fer(FACE)
    assert answer["model"] == "ferplus" and mine["box"] == list(face.box)
    assert mine["scores"] == pytest.approx(face.scores, abs=1e-6)
    assert mine["emotion"] == face.emotion and mine["roll"] == face.roll


# ---------------------------------------------------------------- good events


def test_direct_events_are_answered_with_the_answer(ask, fer):
    as_recognizer_says(ask({"image": text(FACE)}), fer)
    as_recognizer_says(ask({"url": "http://photos.example/face.jpg"}), fer)
    several = ask({"pictures": [text(FACE), text(NOBODY), text(b"no picture")]})["pictures"]
    as_recognizer_says(several[0], fer)
    assert "whole_picture" in several[1] and several[2]["error"]["code"] == "not_a_picture"


@KINDS
def test_requests_over_http_bring_a_picture_a_form_or_json(ask, fer, wrapped):
    for event in (
        wrapped(text(FACE)),
        wrapped(text(FACE), "application/octet-stream"),
        wrapped(text(form(FACE)), FORM),
        wrapped(json.dumps({"image": text(FACE)}), "application/json", is_base64=False),
        wrapped(text(b' {"url": "http://photos.example/face.jpg"}'), "application/json"),
    ):
        status, answer = ask(event)
        assert status == 200
        as_recognizer_says(answer, fer)


@KINDS
def test_several_pictures_are_answered_with_a_list(ask, wrapped):
    listed = json.dumps([text(NOBODY)] * 2)
    for event in (
        wrapped(text(form(NOBODY, NOBODY)), FORM),
        wrapped(listed, "application/json", is_base64=False),
        wrapped(json.dumps({"pictures": [text(NOBODY)] * 2}), "application/json", is_base64=False),
    ):
        status, answer = ask(event)
        assert status == 200 and len(answer["pictures"]) == 2


def test_the_answers_are_those_of_the_servers_handler(ask, fer):
    for data in (FACE, NOBODY, FACE[:5000], b"no picture", b""):
        status, answer = handler.answered(lambda d=data: handler.answer(fer, [d], False))
        assert (status, answer) == ask(http(text(data))) and answer == ask({"image": text(data)})


def test_headers_are_found_however_they_are_written(ask):
    wanted = ask(rest(text(form(FACE)), FORM))
    for name in ("content-type", "CONTENT-TYPE"):
        assert ask(rest(text(form(FACE)), headers={name: FORM})) == wanted
    for headers in (None, {}):  # of a kind unknown: taken for a picture
        assert ask(rest(text(FACE), headers=headers)) == wanted


# ---------------------------------------------------------------- bad events


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"image": ""}, "empty_body"),
        ({"image": "no base64"}, "not_a_picture"),
        ({"image": "ümlaut"}, "not_a_picture"),
        ({"image": text(b"<html>")}, "not_a_picture"),
        ({"image": text(FACE[:9000])}, "truncated_picture"),
        ({"image": text(b"P6 30000 30000 255 ")}, "picture_too_large"),
        ({"image": 5}, "bad_json"),
        ({"image": None}, "bad_json"),
        ({"image": "AAAA", "url": "http://photos.example/"}, "bad_json"),
        ({"picture": "AAAA"}, "bad_json"),
        ({}, "bad_json"),
        ({"Records": [{"s3": {}}]}, "bad_json"),
        ({"pictures": []}, "no_picture"),
        ({"pictures": [text(NOBODY)] * 17}, "too_many_pictures"),
        ({"pictures": [5]}, "bad_json"),
        ({"pictures": functools.reduce(lambda inner, _: [inner], range(20_000), [])}, "bad_json"),
        ({"pictures": text(FACE)}, "bad_json"),
        ({"url": "http://inner.example/"}, "bad_url"),
        ({"url": "http://inner.example:8080/"}, "bad_url"),
        ({"url": "file:///etc/passwd"}, "bad_url"),
        ({"url": ""}, "bad_url"),
        ({"url": ["http://photos.example/"]}, "bad_json"),
        ({"url": "http://photos.example/page"}, "not_a_picture"),
        ({"url": "http://photos.example/list"}, "not_a_picture"),  # JSON is not taken apart again
        ({"image": text(json.dumps([text(FACE)]).encode())}, "not_a_picture"),
        (None, "bad_request"),
        ([], "bad_request"),
        ("picture", "bad_request"),
        (5, "bad_request"),
    ],
)
def test_a_bad_direct_event_is_answered_with_a_sentence(ask, event, code):
    told = ask(event)["error"]
    assert told["code"] == code and "Traceback" not in told["message"]
    assert "\n" not in told["message"] and len(told["message"]) < 250


@KINDS
@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({}, (400, "empty_body")),
        ({"body": ""}, (400, "empty_body")),
        ({"body": "!!!"}, (400, "bad_request")),
        ({"body": {"image": "AAAA"}}, (400, "bad_request")),
        ({"body": "\ufffd\ufffdJFIF", "is_base64": False}, (400, "not_a_picture")),
        ({"body": text(b"<html>")}, (400, "not_a_picture")),
        ({"body": text(FACE), "kind": "text/html"}, (415, "unsupported_media_type")),
        ({"body": text(b"x" * (33 << 20))}, (413, "body_too_large")),
        ({"body": text(form(FACE)), "kind": "multipart/form-data"}, (400, "bad_form")),
        ({"body": text(form(FACE)[:-30]), "kind": FORM}, (400, "bad_form")),
        ({"body": text(form()), "kind": FORM}, (400, "no_picture")),
        ({"body": text(form(*[NOBODY] * 17)), "kind": FORM}, (400, "too_many_pictures")),
        ({"body": '{"image": "', "is_base64": False}, (400, "bad_json")),
        ({"body": '{"image": ' + "[" * 100_000, "is_base64": False}, (400, "bad_json")),
        ({"body": '{"other": 5}', "is_base64": False}, (400, "bad_json")),
        ({"body": '{"image": "\ud800"}', "is_base64": False}, (400, "not_a_picture")),
        ({"body": '{"url": "http://inner.example/"}', "is_base64": False}, (400, "bad_url")),
        ({"method": "GET"}, (405, "method_not_allowed")),
        ({"method": None}, (400, "bad_request")),
        ({"requestContext": {"elb": {}}, "method": "PUT"}, None),
        ({"requestContext": None}, None),
        ({"headers": ["content-type"]}, (400, "empty_body")),
        ({"headers": {"content-encoding": "gzip"}, "body": text(FACE)},
         (415, "unsupported_media_type")),
    ],
)  # fmt: skip
def test_a_bad_request_has_the_status_of_the_server(ask, wrapped, how, wanted):
    status, answer = ask(wrapped(**how))
    assert wanted in (None, (status, answer["error"]["code"]))
    assert 400 <= status < 500 and "Traceback" not in answer["error"]["message"]


def test_who_asks_with_get_is_told_what_to_do(folder):
    told = function.load(folder)(http(method="GET"))
    assert told["headers"]["Allow"] == "POST" and "POST" in told["body"]


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["image", "url", "pictures", "requestContext", "http", "httpMethod", "method", "body",
             "headers", "content-type", "isBase64Encoded", "version", "x"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=9,
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(any_json)
def test_no_event_gets_an_exception_out_of_it(ask, event):
    told = ask(event)
    answer = told[1] if isinstance(told, tuple) else told
    assert answer["error"]["code"] != "internal"


def test_a_fault_of_our_own_is_an_answer_too(folder, monkeypatch, caplog):
    handle = function.load(folder)
    monkeypatch.setattr(handle, "_recognizer", None)
    told = handle(http(text(FACE)))
    assert told["statusCode"] == 500 and json.loads(told["body"])["error"]["code"] == "internal"
    assert "Traceback" in caplog.text


# ---------------------------------------------------------------- switches and files


def test_addresses_are_not_fetched_where_that_is_switched_off(folder, monkeypatch):
    def fetched(*_):
        raise AssertionError("an address was fetched")

    monkeypatch.setattr(function, "fetch", fetched)
    monkeypatch.setenv("FERLIB_URLS", "off")
    told = function.load(folder)({"url": "http://photos.example/face.jpg"})
    assert told["error"]["code"] == "bad_url" and "not fetched here" in told["error"]["message"]
    monkeypatch.setenv("FERLIB_URLS", "maybe")
    with pytest.raises(FerlibError, match="FERLIB_URLS"):
        function.load(folder)


def test_a_net_that_is_missing_or_cut_short_is_named(folder, tmp_path):
    for name in ("ferplus.onnx", "faces.onnx", "roll.onnx"):
        with pytest.raises(FerlibError, match=name):
            function.load(tmp_path)
        (tmp_path / name).write_bytes((folder / name).read_bytes()[:5000])
        with pytest.raises(FerlibError, match="damaged or cut short"):
            function.load(tmp_path)
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    function.load(tmp_path)
