"""Run every chapter and every solution, then pack the shipped net, serve it, and ask it about a
photograph.

    make tutorial              in build/notebooks: the committed notebooks stay as they are
    make tutorial CHAPTER=8    that chapter alone and its solutions

As many run side by side as there are cores, with a thread each. Whatever happens, Ctrl-C included,
no process that this started is left when it ends.
"""

import ctypes
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import psutil
import requests
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
BOOK = BUILD / "notebooks"
TRAINS = "08_training.ipynb"
# Small nets that learn few drawn faces differ by points of accuracy when a last digit does. With
# these the same instructions run on every machine, and the chapters' claims about what a training
# came to are checked on nearly the same nets: oneDNN still orders its sums by the processor's kind.
ALIKE = {"OMP_NUM_THREADS": "1", "DNNL_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}
ALIKE["FERLIB_CHECKS"] = "1"  # elsewhere a claim that does not hold must not stop a reader
_BECOME_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER in Linux's prctl.h


class TutorialError(Exception):
    """What failed, in plain lines."""


def main() -> int:
    os.chdir(ROOT)
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also when started with `&`
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        use_drawn_faces()
        for stage in copies(sys.argv[1] if len(sys.argv) > 1 else ""):
            run_side_by_side(stage)
        answer = serve_and_ask(photograph())
    except (TutorialError, OSError) as error:
        print(f"tutorial: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntutorial: stopped", file=sys.stderr)
        return 130
    finally:
        end_children()
    print(json.dumps(answer))
    print(f"tutorial: done in {(time.monotonic() - began) / 60:.1f} minutes, the server is stopped")
    return 0


# ---------------------------------------------------------------- notebooks


def use_drawn_faces() -> None:
    """The tutorial is the same for everybody: real data in data/ does not change what it runs."""
    os.environ.pop("FERLIB_DATA", None)
    if any(path.name != "README.md" for path in (ROOT / "data").glob("*")):
        from ferlib.data import sample

        sample.write(BUILD / "sample")
        os.environ["FERLIB_DATA"] = str(BUILD / "sample")


def copies(chapter: str) -> list[list[Path]]:
    """Stages of notebooks in build/notebooks, a later one using what an earlier one has trained.

    `chapter`: its number, or nothing for all of them.
    """
    shutil.rmtree(BOOK, ignore_errors=True)
    shutil.copytree(ROOT / "notebooks", BOOK, ignore=shutil.ignore_patterns("runs", ".ipynb*"))
    (BOOK / "runs").mkdir()
    (BOOK / "solutions" / "runs").symlink_to("../runs")
    prefix = chapter.zfill(2) if chapter else ""
    chapters = sorted(BOOK.glob(f"{prefix}*.ipynb"))
    if not chapters or (chapter and not chapter.isdecimal()):
        last = len(list(BOOK.glob("*.ipynb")))
        raise TutorialError(f"no chapter {chapter!r}: expected a number from 1 to {last}")
    first = [path for path in chapters if path.name < "10"]
    first.sort(key=lambda path: path.name != TRAINS)  # the longest, and others use its net
    solutions = sorted(BOOK.glob(f"solutions/{prefix}*.ipynb"))
    return [first, [path for path in chapters if path.name >= "10"], solutions]


def run_side_by_side(notebooks: list[Path]) -> None:
    """Each in a process of its own, one for a core. Raises the first failure, starts no more."""
    cores = len(os.sched_getaffinity(0))
    os.environ.update(ALIKE)
    with ThreadPoolExecutor(cores) as pool:
        tasks = [pool.submit(run_notebook, path) for path in notebooks]
        try:
            for task in as_completed(tasks):
                task.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            end_children()  # what runs beside a failure need not end
            raise


def run_notebook(path: Path) -> None:
    """Execute one notebook from its first cell to its last; print its name and seconds."""
    began = time.monotonic()
    command = [sys.executable, Path(__file__).with_name("run_notebook.py"), path]
    done = subprocess.run(command, capture_output=True, text=True)
    name = path.relative_to(BOOK).with_suffix("")
    if done.returncode:
        raise TutorialError(f"{name} failed\n{the_error(done.stderr)}")
    print(f"notebook: {name!s:28} {time.monotonic() - began:6.1f} s", flush=True)


def the_error(log: str) -> str:
    """What nbclient says about the cell, without colours and without its own traceback."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    return plain[plain.find("An error occurred while executing") :].strip()[-5000:]


# ---------------------------------------------------------------- the server


def photograph() -> bytes:
    """The astronaut Eileen Collins, smiling (NASA, public domain), as a JPEG."""
    from skimage import data

    jpeg = io.BytesIO()
    Image.fromarray(data.astronaut()).save(jpeg, "JPEG", quality=95)
    return jpeg.getvalue()


def serve_and_ask(jpeg: bytes) -> dict:
    """Pack, serve on a free port, post the picture; the server's answer. Stops the server."""
    port = str(free_port())
    ferlib("pack")
    try:
        ferlib("serve", "--port", port)
        print("server: asking about skimage.data.astronaut()", flush=True)
        url = f"http://127.0.0.1:{port}/predictions/fer"
        reply = requests.post(url, jpeg, headers={"Content-Type": "image/jpeg"}, timeout=60)
    finally:
        ferlib("stop", "--port", port)
    if reply.status_code != 200:
        raise TutorialError(f"the server answered {reply.status_code}: {reply.text[:500]}")
    return reply.json()


def ferlib(*words: str) -> None:
    """One ferlib command, as a person would type it; it says itself what is wrong."""
    if subprocess.run([sys.executable, "-m", "ferlib.cli", *words]).returncode:
        raise TutorialError(f"`ferlib {words[0]}` failed")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def adopt_orphans() -> None:
    """Become the parent of whatever our children leave behind, so that end_children finds it."""
    ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1)


def end_children() -> None:
    """End every process that this one started, at whatever remove, and wait until it is gone."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        child.terminate()
    _, stubborn = psutil.wait_procs(children, timeout=5)
    for child in stubborn:
        child.kill()
    psutil.wait_procs(stubborn, timeout=5)


if __name__ == "__main__":
    sys.exit(main())
