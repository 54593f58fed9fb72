"""What several test files share."""

import subprocess

import pytest


@pytest.fixture
def tmpfs(tmp_path):
    """A mounted disk of 200 kB, to be filled; skipped where mounting is not allowed."""
    folder = tmp_path.parent / (tmp_path.name + "-disk")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
