"""Print ``constraints.txt`` for the environment that runs this: every version in it, and nothing local."""

from __future__ import annotations

import re
import subprocess
import sys

HEAD = """\
# What was tested: the last change here passed all the tests with exactly these. Made by scripts/freeze.py.
# torch was its build for the CPU: where pip finds several builds of the version, its own settings choose.
"""
LEFT_OUT = {"napari-sam-stack", "pip"}


def main() -> None:
    """Print the file."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    ).stdout
    # The part after a plus sign names a build, which other machines do not have.
    pins = dict(line.partition("+")[0].split("==") for line in listing.splitlines() if "==" in line)
    sys.stdout.write(HEAD)
    for name, version in sorted((re.sub(r"[-_.]+", "-", name).lower(), pins[name]) for name in pins):
        if name not in LEFT_OUT:
            sys.stdout.write(f"{name}=={version}\n")


if __name__ == "__main__":
    main()
