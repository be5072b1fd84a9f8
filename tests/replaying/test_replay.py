"""Objects are made anew from their prompts, in a new store, and compared with what they were."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from napari_sam import cli
from napari_sam.annotation import Session
from napari_sam.cli import main
from napari_sam.demo import demo_stack
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.model.sam import CONFIGS
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.replaying.image import image_of
from napari_sam.replaying.replay import replay_labels
from napari_sam.replaying.report import Replay
from napari_sam.starting import open_session
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import Geometry
from napari_sam.storage.origins import Making
from seeded import seeded_image, seeded_predictor
from test_annotation import STACK, make_session, object_at

A, B = (20.0, 25.0), (5.0, 40.0)


@pytest.fixture
def session(nano_predictor: Predictor, embeddings: Path, tmp_path: Path) -> Session:
    return make_session(nano_predictor, tmp_path, embeddings)


def replayed(
    session: Session, predictor: Predictor, path: Path, **options: bool
) -> tuple[Replay, LabelsStore]:
    found = replay_labels(session.store, session.planes, predictor, path, **options)
    return found, LabelsStore.open(path)


class TestWithTheSameModel:
    """What the same model makes of the same prompts is the same, pixel by pixel."""

    def test_everything_is_as_it_was(self, session: Session, tmp_path: Path) -> None:
        first = object_at(session, A)
        session.go_to(z=1)
        session.set_prompt(Prompt([B, A], [1, 0]))
        session.predict()
        session.commit(label=first)
        session.go_to(z=2)
        session.add_point(A)
        session.predict()
        session.next_candidate()
        second = session.commit()
        session.objects.classify([second], "nucleus")
        session.objects.rename(first, "mother")

        found, new = replayed(session, session.predictor, tmp_path / "new.zarr")
        assert_array_equal(new.array[:], session.labels[:])
        assert [(x.label, x.how, x.iou, x.planes) for x in found.objects] == [
            (first, "replayed", 1.0, 2),
            (second, "replayed", 1.0, 1),
        ]
        assert new.ledger.objects() == session.store.ledger.objects()
        assert new.ledger.categories() == session.store.ledger.categories()
        assert [x.making.score for x in new.ledger.origins()] == [
            x.making.score for x in session.store.ledger.origins()
        ]
        assert new.geometry == session.store.geometry

    @pytest.mark.parametrize("overlap", ["keep", "replace", "inside"])
    def test_who_lies_above_whom_is_as_it_was(self, session: Session, tmp_path: Path, overlap: str) -> None:
        first = object_at(session, A)
        session.set_prompt(Prompt(box=(2.0, 3.0, 35.0, 45.0)))
        session.predict()
        preview = session.preview
        assert preview is not None and (preview.mask & (session.labels[0] == first)).sum() > 20
        session.commit(overlap, inside=first if overlap == "inside" else None)
        _, new = replayed(session, session.predictor, tmp_path / "new.zarr")
        assert len(new.ledger.objects()) == 2
        assert_array_equal(new.array[:], session.labels[:])

    def test_what_was_erased_stays_erased(self, session: Session, tmp_path: Path) -> None:
        object_at(session, A)
        session.labels[0, :20] = 0
        _, new = replayed(session, session.predictor, tmp_path / "new.zarr")
        assert_array_equal(new.array[:], session.labels[:])

    def test_what_was_wholly_erased_on_a_plane_is_not_made_anew(
        self, session: Session, tmp_path: Path
    ) -> None:
        """Another model would draw what its mask has beyond the old one."""
        object_at(session, A)
        session.show(Plane((0, 2), (0, 20, 0)))
        session.add_point((2.0, 25.0))
        session.predict()
        session.commit("replace", label=1)
        session.labels[3, 5:9, 5:9] = 1
        session.labels[:, 20] = 0
        session.labels[0] = 0
        other = seeded_predictor(CONFIGS["nano"], seed=1)
        found, new = replayed(session, other, tmp_path / "new.zarr")
        assert [x.how for x in found.objects] == ["copied"]
        assert_array_equal(new.array[:], session.labels[:])

    def test_what_was_merged_on_a_plane_is_whole(self, session: Session, tmp_path: Path) -> None:
        """A prompt of either would give one part of it."""
        labels = [object_at(session, point) for point in (A, B)]
        session.go_to(z=1)
        labels.append(object_at(session, A))
        session.objects.merge(labels)
        merged = session.labels[:]
        found, new = replayed(session, session.predictor, tmp_path / "new.zarr")
        assert_array_equal(new.array[:], merged)
        assert [(x.how, x.iou) for x in found.objects] == [("partly replayed", 1.0)]
        session.go_to(z=0)
        session.take_up(labels[0])
        assert session.prompt.mask is not None
        assert_array_equal(session.prompt.mask, merged[0] > 0)
        session.undo()
        assert session.store.ledger.extents().keys() == set(labels)
        assert not any(x.making.prompt.is_empty for x in session.store.ledger.origins())

    def test_what_was_merged_across_the_stack_is_whole(self, session: Session, tmp_path: Path) -> None:
        first = object_at(session, A)
        session.show(Plane((0, 2), (0, 5, 0)))
        second = object_at(session, (2.0, 40.0))
        session.objects.merge([first, second])
        _, new = replayed(session, session.predictor, tmp_path / "new.zarr")
        assert_array_equal(new.array[:], session.labels[:])

    @pytest.mark.parametrize("displayed", [(0, 2), (2, 1)], ids=["across", "turned"])
    def test_what_was_painted_beside_a_prompt_in_another_view_is_kept(
        self, session: Session, tmp_path: Path, displayed: tuple[int, int]
    ) -> None:
        session.show(Plane.at(displayed, (0, 20, 0)))
        label = object_at(session, (2.0, 25.0) if displayed == (0, 2) else (25.0, 20.0))
        session.labels[3, 2:9, 30:44] = label
        found, new = replayed(session, session.predictor, tmp_path / "new.zarr")
        assert_array_equal(new.array[:], session.labels[:])
        assert [(x.how, x.iou) for x in found.objects] == [("partly replayed", 1.0)]

    def test_a_point_beside_the_plane_is_asked_at_the_nearest_pixel(
        self, session: Session, tmp_path: Path
    ) -> None:
        """Earlier versions recorded such points of a grid, and neither replay nor taking up took them."""
        beside, nearest = Prompt([(39.7, 25.0)]), Prompt([(39.0, 25.0)])
        mask = np.zeros(STACK.shape[1:], bool)
        mask[30:, 15:35] = True
        label = session.store.commit(session.plane, mask, session.making("automatic", beside, 0.9)).label
        assert label is not None
        _, new = replayed(session, session.predictor, tmp_path / "new.zarr")
        (origin,) = new.ledger.origins()
        assert origin.making.prompt == nearest
        session.take_up(label)
        assert session.prompt == nearest
        assert session.predict() is not None

    def test_planes_of_every_direction_are_made_anew(self, session: Session, tmp_path: Path) -> None:
        session.show(Plane((0, 2), (0, 20, 0)))
        object_at(session, (2.0, 25.0))
        _, new = replayed(session, session.predictor, tmp_path / "new.zarr")
        assert_array_equal(new.array[:], session.labels[:])


@pytest.mark.parametrize(
    ("limits", "record"),
    [((None, None, (10, 60)), "contrast none"), ((None, (10, 60), (10, 60)), "contrast 10.0:60.0")],
    ids=["mostly as they are", "mostly between limits"],
)
def test_colours_are_seen_again_as_most_prompts_saw_them(
    tiny_predictor: Predictor,
    tmp_path: Path,
    limits: tuple[tuple[float, float] | None, ...],
    record: str,
) -> None:
    image, mask = seeded_image(40, 50), np.zeros((40, 50), bool)
    np.save(tmp_path / "image.npy", image)
    for row, contrast in enumerate(limits):
        mask[10 * row : 10 * row + 8] = True
        planes = Planes(image, "yxs", limits=contrast)
        store = LabelsStore.open_or_create(tmp_path / "cells.zarr", planes.shape, planes.axes)
        making = Making("click", Prompt([A]), preprocessing=planes.preprocessing)
        store.commit(Plane((0, 1), (0, 0)), mask, making)
        store.close()
    assert image_of(LabelsStore.open(tmp_path / "cells.zarr"), tmp_path / "image.npy").preprocessing == record


class TestWithoutPrompts:
    """What was painted, imported or parted has none."""

    @pytest.fixture(autouse=True)
    def imported(self, session: Session) -> None:
        labels = np.zeros(STACK.shape, np.uint16)
        labels[0, 2:12, 3:15] = 7
        labels[1, 2:12, 3:15] = 7
        session.objects.import_labels(labels)  # as label 1
        session.labels[3, 5:9, 5:9] = 9
        object_at(session, A)

    def test_objects_are_copied(self, session: Session, tmp_path: Path) -> None:
        found, new = replayed(session, session.predictor, tmp_path / "new.zarr")
        assert {x.label: x.how for x in found.objects} == {1: "copied", 9: "copied", 10: "replayed"}
        assert_array_equal(new.array[:], session.labels[:])
        assert [x.making.source for x in new.ledger.origins(1)] == ["import"] * 2
        assert "1 objects made anew" in found.summary() and "2 without prompts copied" in found.summary()

    def test_objects_are_refined_if_asked(self, session: Session, tmp_path: Path) -> None:
        found, new = replayed(session, session.predictor, tmp_path / "new.zarr", masks_as_prompts=True)
        assert {x.how for x in found.objects} == {"replayed"}
        session.go_to(z=0)
        session.take_up(1)  # by hand it comes to the same
        preview = session.predict()
        assert preview is not None
        (origin,) = (x for x in new.ledger.origins(1) if x.plane == session.plane)
        assert_array_equal(origin.mask.on(STACK.shape[1:]), preview.mask)
        assert origin.making.score == preview.score
        assert origin.making.prompt.mask is not None


class TestWithAnotherModel:
    @pytest.fixture
    def other(self) -> Predictor:
        return seeded_predictor(CONFIGS["nano"], seed=1)

    def test_the_change_is_measured(self, session: Session, other: Predictor, tmp_path: Path) -> None:
        label = object_at(session, A)
        before = session.labels[:]
        found, new = replayed(session, other, tmp_path / "new.zarr")
        assert_array_equal(session.labels[:], before)
        a, b = before == label, new.array[:] == label
        (row,) = found.objects
        assert row.iou == pytest.approx((a & b).sum() / (a | b).sum())
        assert 0 <= row.iou < 1
        assert (row.old_pixels, row.new_pixels) == (a.sum(), b.sum())
        (origin,) = new.ledger.origins()
        assert origin.making.weights_hash == other.identity.weights_hash
        assert origin.making.score == row.new_score
        assert f"mean {row.iou:.3f}" in found.summary()

    def test_the_table_is_written(self, session: Session, other: Predictor, tmp_path: Path) -> None:
        object_at(session, A)
        found, _ = replayed(session, other, tmp_path / "new.zarr")
        found.write_csv(tmp_path / "replay.csv")
        with (tmp_path / "replay.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["label"], row["how"], row["iou"]) == ("1", "replayed", f"{found.objects[0].iou:.4f}")


class TestNothingIsLeft:
    def test_of_a_replay_that_was_cancelled(self, session: Session, tmp_path: Path) -> None:
        object_at(session, A)
        session.go_to(z=1)
        object_at(session, A)
        before = set(tmp_path.iterdir())
        told = []

        def cancel(done: float) -> None:
            told.append(done)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            replay_labels(
                session.store, session.planes, session.predictor, tmp_path / "new.zarr", progress=cancel
            )
        assert set(tmp_path.iterdir()) == before
        assert told == [0.5]

    def test_where_another_took_the_name_meanwhile(self, session: Session, tmp_path: Path) -> None:
        object_at(session, A)
        path = tmp_path / "new.zarr"

        def take(_done: float) -> None:
            replay_labels(session.store, session.planes, session.predictor, path)

        with pytest.raises(LabelsError, match=r"cannot be stored at .*new\.zarr"):
            replay_labels(session.store, session.planes, session.predictor, path, progress=take)
        assert_array_equal(LabelsStore.open(path).array[:], session.labels[:])
        assert {x.name for x in tmp_path.iterdir()} == {"cells.zarr", "new.zarr"}

    def test_over_a_store_that_is_there(self, session: Session, tmp_path: Path) -> None:
        with pytest.raises(LabelsError, match="needs a new name"):
            replay_labels(session.store, session.planes, session.predictor, session.store.path)

    def test_with_another_image(self, session: Session, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="give the image that they were made of"):
            replay_labels(session.store, Planes(STACK[:2]), session.predictor, tmp_path / "new.zarr")
        assert not (tmp_path / "new.zarr").exists()


def test_an_image_in_colours(nano_predictor: Predictor, tmp_path: Path) -> None:
    image = seeded_image(40, 50, seed=0)
    tifffile.imwrite(tmp_path / "colours.tif", image, photometric="rgb")
    session = open_session(image, rgb=True, labels=tmp_path / "cells.zarr")
    label = object_at(session, B)
    session.close()
    arguments = ["replay", str(tmp_path / "cells.zarr"), str(tmp_path / "colours.tif"), "--model", "nano"]
    assert main([*arguments, "--out", str(tmp_path / "new.zarr")]) == 0
    new, old = LabelsStore.open(tmp_path / "new.zarr"), LabelsStore.open(tmp_path / "cells.zarr")
    assert_array_equal(new.array[:], old.array[:])
    assert label in new.array[:]


class TestAxesOfOneIndex:
    """Files drop them, or have some more; the pixels are the same."""

    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("axes", ["TZYX", "ZTYX", "ZYX"])
    def test_make_no_other_image(self, axes: str, compression: str | None, tmp_path: Path) -> None:
        path = tmp_path / "stack.ome.tif"
        image = STACK if axes == "ZYX" else np.expand_dims(STACK, axes.index("T"))
        tifffile.imwrite(
            path, image, photometric="minisblack", compression=compression, metadata={"axes": axes}
        )
        store = LabelsStore.create(tmp_path / "cells.zarr", (1, *STACK.shape), Geometry("tzyx"))
        planes = image_of(store, path)
        assert (planes.axes, planes.shape) == ("tzyx", (1, *STACK.shape))
        yx, zx = Plane((2, 3), (0, 2, 0, 0)), Plane((1, 3), (0, 0, 7, 0))
        assert_array_equal(planes.image(yx), Planes(STACK).image(Plane((1, 2), (2, 0, 0))))
        assert_array_equal(planes.image(zx), Planes(STACK).image(Plane((0, 2), (0, 7, 0))))

    def test_leave_colours_last(self, tmp_path: Path) -> None:
        image = seeded_image(40, 50, seed=0)
        tifffile.imwrite(tmp_path / "colours.tif", image, photometric="rgb", compression="zlib")
        store = LabelsStore.create(tmp_path / "cells.zarr", (1, 40, 50), Geometry("zyx"))
        planes = image_of(store, tmp_path / "colours.tif")
        assert_array_equal(planes.image(Plane((1, 2), (0, 0, 0))), image)

    @pytest.mark.parametrize("shape", [(4, 50, 40), (40, 50, 4), (2, 2, 40, 50), (1, 40, 50)], ids=str)
    def test_are_all_that_may_differ(self, shape: tuple[int, ...], tmp_path: Path) -> None:
        np.save(tmp_path / "stack.npy", np.zeros(shape, np.uint8))
        store = LabelsStore.create(tmp_path / "cells.zarr", (1, 4, 40, 50), Geometry("tzyx"))
        with pytest.raises(ValueError, match="give the image that they were made of"):
            image_of(store, tmp_path / "stack.npy")


def test_the_contrast_is_that_of_the_first_time(nano_predictor: Predictor, tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", STACK)
    session = open_session(STACK, axes="zyx", labels=tmp_path / "cells.zarr", contrast=(60, 170))
    object_at(session, A)
    image = image_of(session.store, tmp_path / "stack.npy")
    assert image.preprocessing == session.planes.preprocessing != Planes(STACK).preprocessing
    found, _ = replayed(session, session.predictor, tmp_path / "new.zarr")
    assert found.objects[0].iou == 1


def test_the_command_and_the_session_say_how_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = demo_stack()[:1]
    tifffile.imwrite(tmp_path / "nuclei.tif", stack, photometric="minisblack")
    session = open_session(stack, axes="pyx", labels=tmp_path / "cells.zarr")
    object_at(session, (310.0, 144.0))
    found = session.replay(tmp_path / "by-session.zarr", "nano")
    assert [x.iou for x in found.objects] == [1.0]
    # While the window has the store open, the command may read it.
    assert main(["replay", str(session.store.path), str(tmp_path / "nuclei.tif"), "--model", "nano"]) == 0
    said = capsys.readouterr().out
    assert "1 objects made anew by nano" in said and "mean 1.000" in said
    assert (tmp_path / "cells-nano.labels.zarr").is_dir()
    assert (tmp_path / "cells-nano.csv").read_text().count("replayed") == 1
    session.close()


class TestNamesOfTheCommand:
    """The table lies beside the new labels, and nothing that is there is overwritten."""

    @pytest.fixture(autouse=True)
    def cells(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nano_predictor: Predictor) -> None:
        monkeypatch.chdir(tmp_path)
        np.save("stack.npy", STACK)
        LabelsStore.create(Path("cells.1.5um.labels.zarr"), STACK.shape, Geometry("zyx")).close()
        monkeypatch.setattr(cli, "_predictor", lambda _: nano_predictor)

    def replay(self, *more: str) -> int:
        return main(["replay", "cells.1.5um.labels.zarr", "stack.npy", *more])

    @pytest.mark.parametrize(
        ("more", "out", "table"),
        [
            ([], "cells.1.5um-vit_b.labels.zarr", "cells.1.5um-vit_b.csv"),
            (["--out", "exp.2.zarr"], "exp.2.zarr", "exp.2.csv"),
            (["--out", "exp.labels"], "exp.labels", "exp.csv"),
            (["--out", "new/exp"], "new/exp", "new/exp.csv"),
            (["--out", "exp", "--csv", "table.txt"], "exp", "table.txt"),
        ],
        ids=["no names", "dot", "labels", "new folder", "table"],
    )
    def test_only_the_ending_is_cut_off(
        self, more: list[str], out: str, table: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.replay(*more) == 0
        assert f"All objects: {table}" in capsys.readouterr().out
        assert Path(out).is_dir() and Path(table).is_file()

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--out", "exp.zarr"], "exp.csv exists already; give another name with --csv"),
            (["--csv", "exp.csv"], "exp.csv exists already"),
            (
                ["--csv", "new", "--out", "new"],
                "new is the folder of the labels; give another name with --csv",
            ),
            (["--csv", "nope/x.csv"], "has no folder nope; make it"),
            (["--out", "cells.1.5um.labels.zarr"], "exists already; give another name with --out"),
        ],
        ids=["table beside", "table", "one name", "folder", "labels"],
    )
    def test_what_is_in_the_way_is_told_before_the_model_is_loaded(
        self,
        more: list[str],
        message: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(cli, "_predictor", lambda _: pytest.fail("a model is loaded"))
        Path("exp.csv").write_text("another experiment")
        before = set(Path().iterdir())
        assert self.replay(*more) == 1
        assert message in capsys.readouterr().err
        assert set(Path().iterdir()) == before
        assert Path("exp.csv").read_text() == "another experiment"
