"""The command ``napari-sam``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari_sam
from napari_sam.exporting.names import described
from napari_sam.installation import conflict
from napari_sam.weights.catalogue import CATALOGUE, model_row, readable_size
from napari_sam.weights.folder import FOLDER_VARIABLE, is_here, models_folder, remove

if TYPE_CHECKING:
    from napari_sam.inference.predictor import Predictor

# What shells give for a program that Ctrl+C has ended.
_INTERRUPTED = 130
_PRECISIONS = "float32, or bfloat16, float16, int8 where this machine gains from it (default: float32)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = _parser().parse_args(arguments)
    if (problem := conflict()) is not None:
        print(f"napari-sam: {problem}", file=sys.stderr)
    try:
        status: int = options.run(options)
    except (ValueError, OSError) as error:
        print(f"napari-sam: {_told(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Stopped. {options.stays.format_map(vars(options))}", file=sys.stderr)
        return _INTERRUPTED
    return status


def _told(error: ValueError | OSError) -> str:
    """Give what went wrong in words, also where the system gives a number and a file."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} cannot be read or written ({error.strerror}); give another file or folder."
    return str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("napari-sam", description="Segment Anything for image stacks in napari.")
    parser.add_argument("--version", action="version", version=f"napari-sam-stack {napari_sam.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="annotate the microscopy stack that ships with the package, in a window or without one"
    )
    demo.add_argument("--headless", action="store_true", help="open no window, even if there is a display")
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("napari-sam-demo"),
        help="folder for the labels and the picture (default: %(default)s)",
    )
    demo.add_argument("--precision", default="float32", help=f"without a window: {_PRECISIONS}")
    demo.set_defaults(run=_demo, stays="What was written by then is in {out}.")
    _add_models(commands)
    repair = commands.add_parser("repair", help="restore damaged or lost chunks of labels from their ledger")
    repair.add_argument("store", type=Path, help="folder of the labels")
    repair.set_defaults(
        run=_repair, stays="What was restored by then stays, and the same command restores the rest."
    )
    take_in = commands.add_parser("import", help="make a labels store from labels of another program")
    take_in.add_argument("source", type=Path, help="labels: .tif, .png, .npy, or a zarr folder")
    take_in.add_argument("store", type=Path, help="folder of the new labels")
    take_in.add_argument("--axes", help="one letter per axis, such as zyx")
    take_in.set_defaults(run=_import, stays="No new labels were written, and {source} is as it was.")
    _add_export(commands)
    _add_replay(commands)
    _add_automatic(commands)
    return parser


def _add_model(command: argparse.ArgumentParser, default: str) -> None:
    """Let the user choose the model of a command."""
    command.add_argument(
        "--model", default=default, help="what `napari-sam models` calls it (default: %(default)s)"
    )
    command.add_argument("--checkpoint", type=Path, help="your own weights of the model")
    command.add_argument("--device", help="such as cpu, cuda or mps; the fastest one, if left out")
    command.add_argument("--precision", default="float32", help=_PRECISIONS)


def _predictor(options: argparse.Namespace) -> Predictor:
    """Load the model that was chosen."""
    from napari_sam.inference.loading import load_predictor  # noqa: PLC0415 - loads torch

    return load_predictor(options.model, options.checkpoint, options.device, options.precision)


def _demo(options: argparse.Namespace) -> int:
    if options.headless or not _has_display():
        from napari_sam.demo import run_headless  # noqa: PLC0415 - `--version` need not load torch

        run_headless(options.out, options.precision)
        return 0
    if not any(find_spec(binding) for binding in ("PyQt6", "PySide6", "PyQt5", "PySide2")):
        raise ValueError(
            "napari needs a Qt binding for a window: pip install 'napari-sam-stack[qt]', or add --headless."
        )
    from napari_sam.widgets.demo_window import run_window  # noqa: PLC0415 - needs Qt

    run_window(options.out)
    return 0


def _add_automatic(commands: Any) -> None:
    automatic = commands.add_parser("automatic", help="find all objects of an image, without a prompt")
    automatic.add_argument("image", type=Path, help="one plane, gray or RGB: .tif, .png and others")
    automatic.add_argument(
        "--labels", type=Path, required=True, help="new labels: .tif, or .zarr for a store with a ledger"
    )
    _add_model(automatic, "nano")
    automatic.add_argument(
        "--prompts", choices=("learned", "grid"), help="learned where the model can, if left out"
    )
    automatic.add_argument(
        "--channel-axis", type=int, metavar="N", help="axis whose channels are seen together, such as 0"
    )
    automatic.add_argument(
        "--rule",
        choices=("smaller", "score"),
        default="smaller",
        help="which mask is on top (default: smaller)",
    )
    for name in ("pred-iou-thresh", "stability-score-thresh", "box-nms-thresh"):
        automatic.add_argument(f"--{name}", type=float, help="what suits the model, if left out")
    automatic.set_defaults(run=_automatic, stays="No labels were written.")


def _automatic(options: argparse.Namespace) -> int:
    from napari_sam.batch import check_files, label_file  # noqa: PLC0415 - loads torch
    from napari_sam.inference.automatic import Generation  # noqa: PLC0415

    check_files(options.image, options.labels)  # the model may have to be downloaded
    names = ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh")
    thresholds = {name: value for name in names if (value := getattr(options, name)) is not None}
    floors = {
        floor: min(thresholds[name], getattr(Generation, floor))
        for name, floor in (("pred_iou_thresh", "score_floor"), ("stability_score_thresh", "stability_floor"))
        if name in thresholds
    }
    generation = Generation(prompts=options.prompts, **floors)
    predictor = _predictor(options)
    with _bar("mask") as progress:
        count = label_file(
            options.image,
            options.labels,
            predictor,
            generation,
            thresholds,
            options.rule,
            progress,
            options.channel_axis,
        )
    print(f"{count} object{'s' * (count != 1)} in {options.labels}")
    return 0


def _add_models(commands: Any) -> None:
    """Add ``models`` with what can be done to them; without more it lists them."""
    models = commands.add_parser("models", help="list, download or remove models")
    models.set_defaults(run=lambda _: _list_models(), stays="Nothing has changed.")
    actions = models.add_subparsers(metavar="ACTION")
    download = actions.add_parser("download", help="download models, or finish a download that was cut")
    download.set_defaults(
        run=lambda options: _download_models(options.key),
        stays="What has come is kept, and the same command goes on from there.",
    )
    remove = actions.add_parser("remove", help="delete downloaded models")
    remove.set_defaults(
        run=lambda options: _remove_models(options.key),
        stays="Models that are not named as removed are here.",
    )
    for action in (download, remove):
        action.add_argument("key", nargs="+", metavar="KEY", help="what the list calls the model")


def _list_models() -> int:
    lines = [("key", "size", "where", "model")]
    for row in CATALOGUE.values():
        where = "bundled" if row.is_bundled else "here" if is_here(row) else "-"
        size = "" if row.is_bundled else readable_size(row.about_bytes)
        lines.append((row.key, size, where, f"{row.title}: {row.use} [{row.licence}]"))
    for key, size, where, title in lines:
        print(f"{key:{max(len(line[0]) for line in lines)}}  {size:>7}  {where:7}  {title}")
    print(f"\nDownloaded models are in {models_folder()} ({FOLDER_VARIABLE} names another folder).")
    return 0


def _download_models(keys: Sequence[str]) -> int:
    from napari_sam.weights.download import fetch, terminal_report  # noqa: PLC0415 - loads requests

    for row in [model_row(key) for key in keys]:  # all are looked up before the first is downloaded
        if row.is_bundled:
            print(f"{row.key} ships with the package.")
            continue
        with terminal_report(row) as report:
            weights = fetch(row, report)
        print(f"{row.key}: {weights.path}, SHA-256 {weights.sha256}")
        for note in weights.notes:
            print(note)
    return 0


def _remove_models(keys: Sequence[str]) -> int:
    for row in [model_row(key) for key in keys]:
        print(f"{row.key}: {readable_size(remove(row))} removed.")
    return 0


def _repair(options: argparse.Namespace) -> int:
    from napari_sam.storage.labels import LabelsStore  # noqa: PLC0415 - `--version` need not load zarr

    store = LabelsStore.open(options.store)
    try:
        found = store.repair()
    finally:
        store.close()
    print(f"{len(found.restored)} of {found.checked} chunks restored.")
    if found.foreign:
        print(f"{found.foreign} pixels differ from the ledger and stay as they are.")
    return 0


def _import(options: argparse.Namespace) -> int:
    from napari_sam.storage.importing import import_labels  # noqa: PLC0415 - `--version` need not load zarr

    store = import_labels(options.source, options.store, options.axes)
    print(f"{len(store.ledger.objects())} objects in {store.path}")
    store.close()
    return 0


def _add_export(commands: Any) -> None:
    export = commands.add_parser("export", help="write the objects of a labels store for other programs")
    export.add_argument("store", type=Path, help="folder of the labels")
    export.add_argument("out", type=Path, help="new file, or folder of a zarr array")
    export.add_argument(
        "--to",
        metavar="FORMAT",
        help=f"{described()}; if left out, the one with the ending in brackets that OUT has",
    )
    export.set_defaults(run=_export, stays="Nothing was written.")


def _export(options: argparse.Namespace) -> int:
    from napari_sam.exporting.formats import export_labels  # noqa: PLC0415 - loads zarr
    from napari_sam.storage.labels import LabelsStore  # noqa: PLC0415

    store = LabelsStore.open(options.store, read_only=True)
    try:
        _warn(store.unfinished or store.find_losses())
        with _bar("plane") as progress:
            print(export_labels(store, options.out, options.to, progress=progress))
    finally:
        store.close()
    return 0


def _add_replay(commands: Any) -> None:
    replay = commands.add_parser(
        "replay", help="make all objects anew from their prompts with another model, in a new store"
    )
    replay.add_argument("store", type=Path, help="folder of the labels; it stays as it is")
    replay.add_argument(
        "image", type=Path, help="the image they were made of: .tif, .png, .npy, or a zarr folder"
    )
    _add_model(replay, "vit_b")
    replay.add_argument(
        "--out", type=Path, help="folder of the new labels (default: STORE with the model's name)"
    )
    replay.add_argument("--csv", type=Path, help="table of all objects (default: beside the new labels)")
    replay.add_argument(
        "--refine-all",
        action="store_true",
        help="let the model refine what has no prompts (painted, imported) instead of copying it",
    )
    replay.set_defaults(run=_replay, stays="No new labels were written, and the old ones are as they were.")


def _replay(options: argparse.Namespace) -> int:
    from napari_sam.replaying.image import image_of  # noqa: PLC0415
    from napari_sam.replaying.replay import replay_labels  # noqa: PLC0415
    from napari_sam.storage.labels import LabelsStore  # noqa: PLC0415

    out, table = _replay_outputs(options)
    store = LabelsStore.open(options.store, read_only=True)
    try:
        _warn(store.unfinished or store.find_losses())
        image = image_of(store, options.image)
        predictor = _predictor(options)
        with _bar("prompt") as progress:
            found = replay_labels(
                store, image, predictor, out, masks_as_prompts=options.refine_all, progress=progress
            )
    finally:
        store.close()
    print(found.summary())
    found.write_csv(table)
    print(f"All objects: {table}")
    return 0


def _replay_outputs(options: argparse.Namespace) -> tuple[Path, Path]:
    """Give the folder of the new labels and the file of the table, which must both be new."""
    from napari_sam.storage.aside import is_taken  # noqa: PLC0415
    from napari_sam.storage.ome import plain_name  # noqa: PLC0415 - loads zarr

    store = options.store if options.store.name else options.store.absolute()  # "." has no name
    default = store.with_name(f"{plain_name(store)}-{options.model}.labels.zarr")
    out = (options.out or default).expanduser()
    table = (options.csv or out.with_name(f"{plain_name(out)}.csv")).expanduser()
    if is_taken(out):
        raise FileExistsError(f"{out} exists already; give another name with --out.")
    if table == out:
        raise ValueError(f"{table} is the folder of the labels; give another name with --csv.")
    if table.exists():
        raise FileExistsError(f"{table} exists already; give another name with --csv, or remove it first.")
    if options.csv is not None and not table.parent.is_dir():
        raise FileNotFoundError(
            f"The table {table} has no folder {table.parent}; make it, or give another name with --csv."
        )
    return out, table


def _warn(message: str) -> None:
    """Tell what is no reason to stop, if there is anything."""
    if message:
        print(message, file=sys.stderr)


@contextmanager
def _bar(unit: str) -> Iterator[Callable[[float], None]]:
    """Show the share that is done as a bar, on a terminal."""
    from tqdm import tqdm  # noqa: PLC0415 - only what shows it needs it

    with tqdm(
        total=100, desc=unit, disable=None, bar_format="{desc} {percentage:3.0f} %|{bar}| {remaining}"
    ) as bar:
        yield lambda done: bar.update(100 * done - bar.n)


def _has_display() -> bool:
    """Whether a window can be opened; only X11 and Wayland name their display in the environment."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    sys.exit(main())
