"""See to the system libraries that Qt and a virtual display need.

``python scripts/system_packages.py`` is for the tests: the libraries that Qt opens, software OpenGL, Xvfb.
``python scripts/system_packages.py --if-display`` is for the application: the libraries that Qt opens, and
only where there is a display to open a window on.

Where everything is present it does nothing and says nothing. On Debian and Ubuntu it installs what is missing
if it runs as root; else it prints the one command to run and fails. On macOS and Windows Qt brings all.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shlex
import shutil
import subprocess
import sys

# What PyQt6's wheels link to or open but do not bring, by the file that the loader looks for.
QT = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libX11.so.6": "libx11-6",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libxcb.so.1": "libxcb1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-glx.so.0": "libxcb-glx0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
# OpenGL without a graphics card, for napari's canvas on a virtual display.
SOFTWARE_GL = {
    "libGLX_mesa.so.0": "libglx-mesa0",
    "libEGL_mesa.so.0": "libegl-mesa0",
}


def missing_packages(*, tests: bool) -> list[str]:
    """Return the Debian packages of what is not here, each once."""
    wanted = QT | SOFTWARE_GL if tests else QT
    missing = {package for library, package in wanted.items() if not _loads(library)}
    if tests and shutil.which("Xvfb") is None:
        missing.add("xvfb")
    return sorted(missing)


def _loads(library: str) -> bool:
    """Whether the loader finds ``library``: asked of the loader itself, as Qt will."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def main() -> int:
    """Return 0 where nothing is missing any more."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--if-display",
        action="store_true",
        help="look only at what a window needs, and only where DISPLAY or WAYLAND_DISPLAY is set",
    )
    only_window = parser.parse_args().if_display
    has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if sys.platform != "linux" or (only_window and not has_display):
        return 0
    missing = missing_packages(tests=not only_window)
    return install(missing) if missing else 0


def install(packages: list[str]) -> int:
    """Install ``packages``, or say how; return the exit status."""
    if shutil.which("apt-get") is None:
        print(
            f"Missing from this system, by Debian's names: {' '.join(packages)}.\n"
            "Install what holds the same libraries with this system's package manager, then run this again.",
            file=sys.stderr,
        )
        return 1
    steps = [
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "--no-install-recommends", *packages],
    ]
    if os.geteuid() != 0:
        command = " && ".join(f"sudo {shlex.join(step)}" for step in steps)
        print(
            f"Qt needs system packages that are missing. Run this, then the same again:\n\n    {command}\n",
            file=sys.stderr,
        )
        return 1
    print(f"Installing system packages: {' '.join(packages)}", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    options = ["-qq", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]
    for name, *arguments in steps:
        status = subprocess.run(
            [name, *options, *arguments], env=environment, stdin=subprocess.DEVNULL, check=False
        ).returncode
        if status:
            print(f"`{shlex.join([name, *arguments])}` failed with status {status}.", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
