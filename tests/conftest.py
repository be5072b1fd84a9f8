"""What all tests share: a user's folders of their own, and a clear word where a display is missing."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam.inference.predictor import Predictor

_FOLDERS = tempfile.TemporaryDirectory(prefix="napari_sam_tests_", ignore_cleanup_errors=True)

# A busy machine must fail no test.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let all tests of the widgets use napari's window; it takes five times as long."""
    parser.addoption("--windows", action="store_true", help="open napari's window in every test of a widget")


def pytest_configure() -> None:
    """Point every folder that belongs to the user into one that the tests own, before anything reads it."""
    root = Path(_FOLDERS.name)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        os.environ[name] = str(root / name.lower())
    # Empty: napari neither reads nor writes settings.
    os.environ["NAPARI_CONFIG"] = ""
    if sys.platform == "linux":
        os.environ.pop("WAYLAND_DISPLAY", None)
        os.environ["QT_QPA_PLATFORM"] = "xcb"
    if (workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
        # Each of several test processes takes its share of the processors, and draws windows by one thread.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
        os.environ.setdefault("LP_NUM_THREADS", "0")


@pytest.fixture(scope="session", autouse=True)
def share_of_cores() -> None:
    """Compute with this process's share of the processors: the variable may have come too late."""
    if "PYTEST_XDIST_WORKER" in os.environ and "OMP_NUM_THREADS" in os.environ:
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture
def use_cores() -> Iterator[Callable[[int], None]]:
    """Let PyTorch compute with so many cores until the test is over, then with this process's share again."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def qapp_args() -> list[str]:
    """Stop with a remedy where Qt would abort the whole process."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        pytest.fail("Xvfb is not installed: run `python scripts/system_packages.py`.", pytrace=False)
    return ["pytest"]


@pytest.fixture(scope="session")
def nano_predictor() -> Predictor:
    """A predictor of nano's architecture with seeded weights: fast, deterministic, meaningless masks."""
    # Here, lest every test load torch.
    from napari_sam.model.sam import CONFIGS
    from seeded import NANO_SEED, seeded_predictor

    return seeded_predictor(CONFIGS["nano"], NANO_SEED)


@pytest.fixture(scope="session")
def tiny_predictor() -> Predictor:
    """A predictor of a tiny architecture with seeded weights, where neither masks nor sizes matter."""
    from seeded import seeded_predictor, tiny_config

    return seeded_predictor(tiny_config())


@pytest.fixture(scope="session")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of embeddings that tests share: the first one that needs one makes it."""
    return tmp_path_factory.mktemp("embeddings")
