"""Is what is installed the right thing? Another plugin owns the same import name."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

OURS, OTHER = "napari-sam-stack", "napari-sam"


def conflict() -> str | None:
    """Say so if the other plugin called ``napari-sam`` is installed beside this one; None if it is not.

    Both install the import package ``napari_sam``, so the files of one replace some of the other's.
    """
    try:
        other = version(OTHER)
    except PackageNotFoundError:
        return None
    return (
        f"The plugin {OTHER} {other} is installed beside {OURS}; both own the import name napari_sam, and "
        f"either may fail. Run: pip uninstall {OTHER} {OURS} && pip install {OURS}"
    )
