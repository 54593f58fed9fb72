"""What the tests of faces, archive and service share: a net, pictures, processes."""

import contextlib
import io
import os
import random
import socket
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def free_port(high: bool = False) -> int:
    """A port that nothing uses; above 32766 Multi Model Server itself takes none.

    Never one that the kernel gives to clients: one of another test's could have it by the time it
    is bound, and for a minute after."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = range(32_767, 65_536) if high else range(10_000, 32_767)
    ports = [port for port in ports if not first <= port <= last]
    while True:
        port = random.choice(ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def any_weights(folder: Path) -> Path:
    """The shipped net's prefix, or a small net with random weights where none is shipped."""
    shipped = ROOT / "model_store" / "ferplus"
    return shipped if Path(f"{shipped}.json").exists() else tiny_weights(folder)


def tiny_weights(folder: Path) -> Path:
    from ferlib import nets

    prefix = folder / "tiny"
    info = replace(nets.Info.of(nets.find("vgg-tiny")), temperature=1.25)
    nets.save(nets.create("vgg-tiny", seed=3), prefix, info)
    return prefix


@cache
def astronaut() -> np.ndarray:
    """uint8 (512, 512, 3): scikit-image's photograph of Eileen Collins, one face, smiling."""
    from skimage import data

    return data.astronaut()


def encoded(picture, kind: str = "PNG", **how) -> bytes:
    """An array or PIL image as the bytes of a file."""
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, kind, **how)
    return buffer.getvalue()


def server_processes() -> list[psutil.Process]:
    """Every process of a Multi Model Server, Java or worker, that these tests started.

    Other tests may run beside them (pytest-xdist), with servers of their own.
    """
    words = ("com.amazonaws.ml.mms", "model_service_worker", "mms.model_server", "keeper.keep()")
    ours, found = os.environ.get("PYTEST_XDIST_WORKER"), []
    for process in psutil.process_iter():
        try:
            if any(word in " ".join(process.cmdline()) for word in words):
                found += [process] * (process.environ().get("PYTEST_XDIST_WORKER") == ours)
        except psutil.Error:
            continue
    return found
