"""What the gate takes, and how long it waits: each limit with its reason."""

from dataclasses import dataclass

from ferlib.serving import several


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds. Tests shorten the times."""

    head: int = 16 << 10  # request line and header fields: browsers send 1 to 2 KiB
    fields: int = 100  # header fields: browsers send some 20
    body: int = 32 << 20  # a camera's JPEG passes; Multi Model Server's own limit is the same
    chunks: int = 1 << 16  # of a chunked body: on average 512 bytes each in the largest
    pictures: int = several.MOST  # in one request
    requests: int = 64  # whole ones, waiting or in work: more would wait for seconds anyhow
    bodies: int = 256 << 20  # of all requests together: eight of the largest
    connections: int = 512  # half of the 1,024 open files that a process usually may have
    rate: float = 0  # predictions a second for each address; 0: any number

    head_seconds: float = 10  # from a request's first byte to its last header field
    body_seconds: float = 30  # a megabyte a second for the largest
    idle_seconds: float = 30  # of a kept connection between two requests
    answer_seconds: float = 65  # Multi Model Server gives up at 60 and restarts the worker
    write_seconds: float = 30  # for a client to take its answer
    linger_seconds: float = 2  # for a client to see why it was refused, before a reset
