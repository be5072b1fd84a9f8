"""What reaches the user: the wheel, the editable install, the manifest in both, the cost of the import."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from npe2 import PluginManager, PluginManifest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import napari_sam

DISTRIBUTION = "napari-sam-stack"
ROOT = Path(__file__).parents[1]


def run(code: str, **environment: str) -> Any:
    """Run ``code`` in a Python of its own and return what it prints, read as JSON."""
    finished = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel by way of the source distribution, as a release does, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay the wheel out as an installer does."""
    folder = tmp_path_factory.mktemp("installed")
    with ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize(
    "path",
    ["napari_sam/napari.yaml", "napari_sam/py.typed", "napari_sam/weights/nano.safetensors"],
)
def test_wheel_holds_what_no_import_would_miss(unpacked: Path, path: str) -> None:
    assert (unpacked / path).is_file()


def test_wheel_holds_every_file_of_the_package(unpacked: Path) -> None:
    source = ROOT / "src"
    here = {
        path.relative_to(source).as_posix()
        for path in (source / "napari_sam").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    there = {
        path.relative_to(unpacked).as_posix()
        for path in (unpacked / "napari_sam").rglob("*")
        if path.is_file()
    }
    assert there == here


def test_wheel_holds_the_demo_stack(unpacked: Path) -> None:
    assert [path for path in (unpacked / "napari_sam" / "data").glob("*") if path.is_file()]


def test_wheel_holds_one_import_package(unpacked: Path) -> None:
    assert {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")} == {
        "napari_sam"
    }


def test_wheel_stays_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 20e6


def test_npe2_finds_the_manifest_of_the_wheel(unpacked: Path) -> None:
    code = (
        "import json, napari_sam\n"
        "from npe2 import PluginManifest\n"
        f"manifest = PluginManifest.from_distribution({DISTRIBUTION!r})\n"
        "print(json.dumps([napari_sam.__file__, manifest.package_metadata.version, manifest.name]))\n"
    )
    file, version, name = run(code, PYTHONPATH=str(unpacked))
    assert Path(file).is_relative_to(unpacked)
    assert (version, name) == (napari_sam.__version__, DISTRIBUTION)


def test_npe2_finds_the_manifest_of_this_installation() -> None:
    manager = PluginManager()
    manager.discover()
    manifest = manager.get_manifest(DISTRIBUTION)
    assert manifest.display_name == "Segment Anything for stacks"
    assert [widget.display_name for widget in manifest.contributions.widgets or []] == [
        "Segment Anything: annotate",
        "Segment Anything: objects",
        "Segment Anything: automatic masks",
    ]
    assert [sample.key for sample in manifest.contributions.sample_data or []] == ["nuclei"]


def test_every_command_of_the_manifest_can_be_imported() -> None:
    PluginManifest.from_distribution(DISTRIBUTION).validate_imports()


def test_the_manifest_at_the_top_is_that_of_the_package() -> None:
    inside = ROOT / "src" / "napari_sam" / "napari.yaml"
    top = (ROOT / "napari.yaml").read_text(encoding="utf-8")
    # Where git cannot make links, it writes a file that holds the link's target.
    assert top in {inside.read_text(encoding="utf-8"), inside.relative_to(ROOT).as_posix()}


def test_versions_agree() -> None:
    assert distribution(DISTRIBUTION).version == napari_sam.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(
        r"^## \[(Unreleased|" + re.escape(napari_sam.__version__) + r")\]", changelog, re.MULTILINE
    )


def imported_distributions(files: Iterable[Path]) -> set[str]:
    """Name the distributions of other people's packages that some files import."""
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    roots = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {"napari_sam"}
    owners = packages_distributions()
    return {canonicalize_name(owners[root][0]) for root in roots}


def test_declared_dependencies_are_the_imported_ones() -> None:
    """The program that trains has further ones, an extra of their own."""
    training = set((ROOT / "src" / "napari_sam" / "training").rglob("*.py"))
    plugin = imported_distributions(set((ROOT / "src").rglob("*.py")) - training)
    requirements = [Requirement(line) for line in distribution(DISTRIBUTION).requires or []]
    declared = {canonicalize_name(requirement.name) for requirement in requirements if not requirement.marker}
    assert declared == plugin
    extra = {
        canonicalize_name(requirement.name)
        for requirement in requirements
        if requirement.marker and 'extra == "training"' in str(requirement.marker)
    }
    assert extra == imported_distributions(training) - plugin


def test_import_loads_neither_torch_nor_qt_nor_napari() -> None:
    code = "import json, sys, napari_sam; print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    heavy = {"PyQt6", "PySide6", "magicgui", "napari", "numpy", "qtpy", "superqt", "torch", "vispy", "zarr"}
    assert heavy.isdisjoint(run(code))


@pytest.mark.parametrize("name", napari_sam.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(napari_sam, name) is not None
    assert name in dir(napari_sam)


def test_no_module_hides_a_public_name() -> None:
    """Importing a submodule sets it as an attribute of the package, also where a public name stood."""
    code = (
        "import json, types, napari_sam\n"
        "from importlib import import_module\n"
        "for home in napari_sam._HOMES.values(): import_module(f'napari_sam.{home}')\n"
        "values = {name: getattr(napari_sam, name) for name in napari_sam.__all__}\n"
        "print(json.dumps([name for name, value in values.items() if isinstance(value, types.ModuleType)]))\n"
    )
    assert run(code) == []
