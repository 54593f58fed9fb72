"""Events for the function on AWS Lambda, as AWS documents them."""

import base64

import numpy as np
from common import astronaut, encoded

FACE = encoded(astronaut(), "JPEG")
NOBODY = encoded(np.full((48, 48), 99, np.uint8))
FORM = "multipart/form-data; boundary=x"


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def rest(body=None, kind="image/jpeg", method="POST", is_base64=True, **more) -> dict:
    """API Gateway, REST: payload 1.0."""
    return {
        "resource": "/fer", "path": "/fer", "httpMethod": method,
        "headers": {"Accept": "*/*", "Content-Type": kind, "Host": "a.execute-api.example"},
        "multiValueHeaders": {"Content-Type": [kind]},
        "queryStringParameters": None, "multiValueQueryStringParameters": None,
        "pathParameters": None, "stageVariables": None,
        "requestContext": {"accountId": "123456789012", "apiId": "a", "stage": "prod",
                           "httpMethod": method, "identity": {"sourceIp": "203.0.113.7"}},
        "body": body, "isBase64Encoded": is_base64,
    } | more  # fmt: skip


def http(body=None, kind="image/jpeg", method="POST", is_base64=True, **more) -> dict:
    """API Gateway, HTTP, and function URLs: payload 2.0, which leaves out a body that is empty."""
    event = {
        "version": "2.0", "routeKey": "$default", "rawPath": "/fer", "rawQueryString": "",
        "headers": {"accept": "*/*", "content-type": kind, "host": "a.lambda-url.example"},
        "requestContext": {"accountId": "anonymous", "apiId": "a", "domainName": "a",
                           "http": {"method": method, "path": "/fer", "protocol": "HTTP/1.1",
                                    "sourceIp": "203.0.113.7", "userAgent": "curl"},
                           "requestId": "x", "stage": "$default"},
        "isBase64Encoded": is_base64,
    }  # fmt: skip
    return event | ({} if body is None else {"body": body}) | more


def form(*pictures: bytes) -> bytes:
    head = b"--x\r\nContent-Disposition: form-data; name=data; filename=a\r\n\r\n"
    return b"".join(head + one + b"\r\n" for one in pictures) + b"--x--\r\n"
