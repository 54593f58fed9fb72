"""One HTTP request, taken strictly: llhttp's strict mode, and what it lets through besides.

Whatever could be understood in two ways is refused, since a proxy before the gate might understand
it the other way.
"""

import re

import httptools

from ferlib.serving.answers import Refusal, bad_request
from ferlib.serving.limits import Limits

_ONCE = (
    "content-length",
    "transfer-encoding",
    "content-type",
    "content-encoding",
    "host",
    "expect",
)
_CHUNK_WORDS = 1 << 20  # bytes that chunks' sizes and extensions may add to a body


class Reading:
    """A request as it comes in: `head`, then `take` until `whole`.

    `body` is a list of pieces, which together are `size` bytes long.
    """

    def __init__(self, limits: Limits):
        self.url = b""
        self.method = ""
        self.fields: dict[str, str] = {}
        self.length: int | None = 0  # of the body; None: chunked
        self.body: list[bytes] = []
        self.size = 0
        self.whole = False
        self.keep_alive = False
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._pairs: list[tuple[bytes, bytes]] = []
        self._ended = False  # the head, for llhttp
        self._trailers = False
        self._chunks = 0
        self._wire = 0

    # ------------------------------------------------------------ the head

    def head(self, block: bytes) -> None:
        """Take the request line and header fields, up to the empty line. Raises Refusal."""
        check_lines(block, self._limits)
        self._feed(block)
        if not self._ended:
            raise bad_request("this is not a whole HTTP request")
        if (version := self._parser.get_http_version()) not in ("1.1", "1.0"):
            raise Refusal(400, "http_version", f"HTTP/{version} is not spoken here, only HTTP/1.1")
        self.method = self._parser.get_method().decode("latin-1")
        self._sort_fields()
        if version == "1.1" and not self.fields.get("host"):
            raise bad_request("an HTTP/1.1 request needs one Host field")
        self.length = self._length(version)
        self.whole = self.length == 0
        # What follows chunks is never read.
        self.keep_alive &= version == "1.1" and self.length is not None

    @property
    def awaits_a_word(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends the body."""
        return "expect" in self.fields and not self.whole

    def _sort_fields(self) -> None:
        for name, value in self._pairs:
            key = name.decode("latin-1").lower()
            if key in _ONCE and key in self.fields:
                raise bad_request(f"the field {key} stands there twice")
            self.fields[key] = value.decode("latin-1").strip(" \t")

    def _length(self, version: str) -> int | None:
        coding, length = self.fields.get("transfer-encoding"), self.fields.get("content-length")
        if coding is not None and length is not None:
            raise bad_request("Content-Length and Transfer-Encoding exclude each other")
        if coding is not None:
            if coding.lower() != "chunked" or version == "1.0":
                raise bad_request("the only Transfer-Encoding is chunked, and in HTTP/1.1")
            return None
        if not re.fullmatch(r"[0-9]{1,15}", length or "0"):
            raise bad_request("Content-Length is not a number")
        if int(length or 0) > self._limits.body:
            raise self._too_large()
        return int(length or 0)

    def _too_large(self) -> Refusal:
        megabytes = self._limits.body >> 20
        return Refusal(413, "body_too_large", f"at most {megabytes} MiB are taken; shrink it")

    # ------------------------------------------------------------ the body

    def take(self, data: bytes) -> bytes:
        """Take what belongs to the body; gives what follows it. Raises Refusal.

        After chunks nothing is given: the connection ends there, so what follows is no request.
        """
        if self.length is not None:
            missing = self.length - self.size
            self.on_body(data if len(data) <= missing else data[:missing])
            self.whole = self.size == self.length
            return data[missing:]
        self._wire += len(data)
        self._feed(data)
        if self._trailers:
            raise bad_request("fields after a chunked body are not taken")
        if self._chunks > self._limits.chunks:
            raise bad_request("the body comes in too many small chunks")
        if self.size > self._limits.body or self._wire > self._limits.body + _CHUNK_WORDS:
            raise self._too_large()
        return b""

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise bad_request("this server speaks nothing but HTTP/1.1") from None
        except httptools.HttpParserError as error:
            if not self.whole:  # else: what comes after the last chunk, which nobody reads
                raise bad_request(f"this is not HTTP: {error}"[:100]) from None

    # ------------------------------------------------------------ what llhttp calls

    # Behind a chunked body it goes on with what it takes for the next request: that is let pass.

    def on_url(self, url: bytes) -> None:
        self.url += b"" if self._ended else url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._ended:
            self._trailers |= not self.whole
        else:
            self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        if not self._ended:
            self._ended = True
            self.keep_alive = self._parser.should_keep_alive()  # of the next one, once this ends

    def on_chunk_header(self) -> None:
        self._chunks += not self.whole

    def on_body(self, piece: bytes) -> None:
        if not self.whole and piece:
            self.body.append(piece)
            self.size += len(piece)

    def on_message_complete(self) -> None:
        self.whole = True


def check_lines(block: bytes, limits: Limits) -> None:
    """Raises Refusal where lines do not end in CR LF, are folded, or are too many."""
    ends = block.count(b"\r\n")
    if block.count(b"\n") != ends or block.count(b"\r") != ends:
        raise bad_request("lines of a request end in CR LF")
    if b"\r\n " in block or b"\r\n\t" in block:
        raise bad_request("folded header fields are not taken")
    if len(block) > limits.head or ends - 2 > limits.fields:
        size = f"{limits.head >> 10} KiB and {limits.fields} fields"
        raise Refusal(431, "headers_too_large", f"the header fields are more than {size}")
