"""Print ``constraints.txt`` for the environment that runs this: every version in it, and nothing local."""

from __future__ import annotations

import subprocess
import sys

HEAD = """\
# What was tested: the last change here passed all the tests with exactly these. Made by scripts/freeze.py.
# torch is tested in its build for the CPU. Where an index holds several builds of a version, pip's settings
# (find-links, an index of their own) choose among them.
"""
LEFT_OUT = {"napari-sam-stack", "pip"}


def main() -> None:
    """Print the file."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    ).stdout
    # The part after a plus sign names a build, which other machines do not have.
    pins = sorted({line.partition("+")[0].strip().lower() for line in listing.splitlines() if "==" in line})
    sys.stdout.write(HEAD)
    for pin in pins:
        if pin.partition("==")[0] not in LEFT_OUT:
            sys.stdout.write(f"{pin}\n")


if __name__ == "__main__":
    main()
