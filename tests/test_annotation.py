"""A script annotates a stack as the widget does: set prompts, preview, choose, commit, take back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import platformdirs
import pytest
from numpy.testing import assert_array_equal

from napari_sam.annotation import Session
from napari_sam.demo import demo_stack
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.refinement import predict_refined
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.starting import default_labels_path, open_session
from napari_sam.storage.embeddings import EmbeddingCache
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.records import Step
from seeded import seeded_image

STACK = np.stack([seeded_image(40, 50, seed=z)[..., 0] for z in range(4)])
A, B, C = (20.0, 25.0), (5.0, 40.0), (33.0, 8.0)
BOX = (5.0, 6.0, 30.0, 40.0)


@pytest.fixture
def session(nano_predictor: Predictor, embeddings: Path, tmp_path: Path) -> Session:
    """A session on ``STACK`` with meaningless masks; `open_session` makes one with the bundled model."""
    return make_session(nano_predictor, tmp_path, embeddings)


def make_session(predictor: Predictor, folder: Path, cache: Path | None = None) -> Session:
    planes = Planes(STACK, "zyx")
    store = LabelsStore.open_or_create(folder / "cells.zarr", planes.shape, planes.axes)
    return Session(planes, predictor, store, EmbeddingCache(planes, predictor, cache))


def channels_last(predictor: Predictor, folder: Path) -> Session:
    planes = Planes(np.stack([STACK, STACK], -1), "zyxc", channels="c")
    store = LabelsStore.create(folder / "channels.zarr", planes.shape, planes.axes)
    return Session(planes, predictor, store, EmbeddingCache(planes, predictor, None))


def object_at(session: Session, point: tuple[float, float]) -> int:
    """Commit what one point gives."""
    session.add_point(point)
    session.predict()
    return session.commit()


def labels_of(step: Step | None) -> int | None:
    return None if step is None else step.label


@contextmanager
def signals_of(session: Session) -> Iterator[list[str]]:
    """Collect the names of the signals that are emitted."""
    emitted: list[str] = []
    for name in (
        "plane_changed",
        "prompt_changed",
        "preview_changed",
        "committed",
        "undone",
        "redone",
        "noticed",
    ):
        getattr(session, name).connect(lambda *_, name=name: emitted.append(name))
    yield emitted


class TestScript:
    def test_annotates_a_stack(self, tmp_path: Path) -> None:
        """The whole flow, with the model that ships with the package."""
        path = tmp_path / "cells.zarr"
        nuclei = demo_stack()[:, 350:510, 320:520]  # the first plane has a nucleus around (84, 91)
        session = open_session(nuclei, axes="zyx", model="nano", labels=path, cache=tmp_path / "cache")
        session.go_to(z=2)
        session.go_to(z=0)
        session.add_point(A)
        session.add_point(B, label=0)
        first = session.predict()
        assert first is not None and session.preview is first
        assert first.mask.shape == (160, 200) and first.score == first.scores[0]
        session.set_points([A])
        candidates = session.predict()
        assert candidates is not None and len(candidates.masks) == 3
        session.next_candidate()
        session.next_candidate()
        session.next_candidate()
        assert session.preview is not None and session.preview.chosen == candidates.chosen
        session.clear_prompt()
        session.set_box((52, 64, 117, 118))
        boxed = session.predict()
        assert boxed is not None and boxed.mask.any()
        assert session.commit() == 1
        assert_array_equal(session.labels[0], boxed.mask)
        assert (session.prompt.is_empty, session.preview) == (True, None)

        session.close()
        again = open_session(da.from_array(nuclei), "zyx", labels=str(path), cache=str(tmp_path / "cache"))
        assert_array_equal(again.labels[0], boxed.mask)
        assert np.count_nonzero(again.labels[:]) == boxed.mask.sum()
        undone = again.undo()
        assert undone is not None and undone.label == 1
        assert again.prompt == Prompt(box=(52, 64, 117, 118))
        assert not again.labels[:].any()
        assert again.undo() is None
        assert again.redo() == undone
        assert_array_equal(again.labels[0], boxed.mask)
        assert again.prompt.is_empty

    def test_an_image_of_one_plane_and_colours(self, tmp_path: Path) -> None:
        session = open_session(seeded_image(30, 40), rgb=True, labels=tmp_path / "a", cache=tmp_path / "b")
        session.set_box((2, 3, 20, 30))
        session.predict()
        assert session.labels.shape == (30, 40)
        with pytest.raises(ValueError, match="'z' is no axis to move along; this plane moves along none"):
            session.go_to(z=0)

    @pytest.mark.parametrize(
        ("image", "arguments", "message"),
        [
            pytest.param(STACK, {"axes": "yx"}, "'yx' do not fit", id="axes"),
            pytest.param(STACK, {"model": "vit_x"}, "'vit_x' is unknown", id="model"),
            pytest.param(STACK, {"scale": (1, 2)}, "scale .* not one number for each axis", id="scale"),
            pytest.param(STACK[:0], {}, "has no pixels", id="empty image"),
        ],
    )
    def test_bad_input_leaves_no_labels_behind(
        self, tmp_path: Path, image: Any, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            open_session(image, labels=tmp_path / "cells.zarr", cache=tmp_path / "cache", **arguments)
        assert not any(tmp_path.iterdir())

    def test_labels_of_another_image_are_refused_and_stay(self, tmp_path: Path, session: Session) -> None:
        object_at(session, A)
        before = session.labels[:]
        with pytest.raises(LabelsError, match=r"have shape \(4, 40, 50\), the image \(3, 40, 50\)"):
            open_session(STACK[:3], labels=session.store.path, cache=tmp_path / "cache")
        assert_array_equal(LabelsStore.open(session.store.path).array[:], before)


class TestPlanes:
    def test_start_at_the_first(self, session: Session) -> None:
        assert session.plane == Plane((1, 2), (0, 0, 0))

    @pytest.mark.parametrize(
        ("position", "message"),
        [
            pytest.param({"z": 4}, "no plane z=4; z goes from 0 to 3", id="behind the last"),
            pytest.param({"z": -1}, "no plane z=-1", id="before the first"),
            pytest.param(
                {"t": 0}, r"'t' is no axis to move along; this plane moves along \['z'\]", id="unknown"
            ),
            pytest.param({"x": 3}, "'x' is no axis to move along", id="displayed"),
            pytest.param({"zy": 3}, "'zy' is no axis", id="two letters"),
        ],
    )
    def test_that_are_not_there_change_nothing(
        self, session: Session, position: dict[str, int], message: str
    ) -> None:
        session.go_to(z=1)
        session.set_box(BOX)
        preview = session.predict()
        with pytest.raises(ValueError, match=message):
            session.go_to(**position)
        assert (session.plane.position, session.prompt, session.preview) == (
            (1, 0, 0),
            Prompt(box=BOX),
            preview,
        )

    def test_have_whole_numbers(self, session: Session) -> None:
        session.go_to(z=np.int64(2))
        with pytest.raises(TypeError, match=r"z=0\.9 is no index of a plane; give a whole number"):
            session.go_to(z=0.9)  # type: ignore[arg-type]
        assert session.plane.position == (2, 0, 0)

    def test_keep_their_own_prompts(self, session: Session) -> None:
        session.add_point(A)
        session.go_to(z=3)
        assert session.prompt.is_empty and session.predict() is None
        session.set_box(BOX)
        session.go_to(z=0)
        assert session.prompt == Prompt([A])
        session.show(Plane.at((2, 0), (0, 12, 0)))
        assert session.prompt.is_empty
        session.go_to(y=7)
        session.show(Plane((1, 2), (3, 0, 0)))
        assert session.prompt == Prompt(box=BOX)

    def test_lose_their_preview_when_left(self, session: Session) -> None:
        session.add_point(A)
        session.predict()
        session.go_to(z=1)
        assert session.preview is None
        with pytest.raises(ValueError, match="There is no preview to commit; set a point or a box"):
            session.commit()

    def test_across_the_stack_are_annotated_too(self, session: Session) -> None:
        session.show(Plane.at((2, 0), (0, 30, 0)))  # columns as rows, planes as columns
        session.set_box((-0.5, -0.5, 49.5, 3.5))
        preview = session.predict()
        assert preview is not None and preview.mask.shape == (50, 4)
        session.commit()
        expected = np.zeros(STACK.shape, int)
        expected[:, 30] = preview.mask.T
        assert_array_equal(session.labels[:], expected)


class TestPrompts:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            pytest.param(
                lambda s: s.add_point((40, 3)), "row 40, column 3.*outside the plane", id="point outside"
            ),
            pytest.param(lambda s: s.add_point((3, np.nan)), "not finite", id="point of NaN"),
            pytest.param(lambda s: s.add_point(A, label=2), "label 2 is unknown", id="label"),
            pytest.param(lambda s: s.set_points([A, B], [1]), "2 points have 1 labels", id="too few labels"),
            pytest.param(lambda s: s.set_points([(1, 2, 3)]), "not a list of pairs", id="3-D point"),
            pytest.param(lambda s: s.set_box((5, 5, 5, 30)), "has no area", id="box of no area"),
            pytest.param(
                lambda s: s.set_box((50, 5, 60, 30)), "outside the plane of 40 x 50", id="box outside"
            ),
            pytest.param(
                lambda s: s.set_prompt(Prompt(mask=np.ones((50, 40), bool))),
                r"shape \(50, 40\)",
                id="turned mask",
            ),
        ],
    )
    def test_that_are_wrong_change_nothing(
        self, session: Session, change: Callable[[Session], None], message: str
    ) -> None:
        session.add_point(A)
        preview = session.predict()
        with signals_of(session) as emitted, pytest.raises(ValueError, match=message):
            change(session)
        assert (session.prompt, session.preview, emitted) == (Prompt([A]), preview, [])

    def test_points_and_box_are_set_apart(self, session: Session) -> None:
        session.set_box((30, 40, 5, -10))
        session.set_points([A, B], [1, 0])
        session.add_point(C, label=0)
        assert session.prompt == Prompt([A, B, C], [1, 0, 0], (5, -0.5, 30, 40))
        session.set_box(None)
        assert session.prompt == Prompt([A, B, C], [1, 0, 0])

    def test_a_mask_is_refined(self, session: Session) -> None:
        mask = np.zeros((40, 50), bool)
        mask[10:30, 10:30] = True
        session.set_prompt(Prompt([A], mask=mask))
        session.add_point(B)
        assert session.prompt.mask is mask
        preview = session.predict()
        assert preview is not None and len(preview.masks) == 1

    def test_a_prompt_that_is_the_same_keeps_the_preview(self, session: Session) -> None:
        session.set_box(BOX)
        preview = session.predict()
        session.set_box(BOX)
        assert session.preview is preview


class TestCandidates:
    def test_go_round_by_falling_score(self, session: Session) -> None:
        session.add_point(A)
        first = session.predict()
        assert first is not None
        shown = [first.score]
        for _ in range(3):
            session.next_candidate()
            assert session.preview is not None
            shown.append(session.preview.score)
            assert_array_equal(session.preview.mask, first.masks[session.preview.chosen])
        assert shown == [*sorted(first.scores.tolist(), reverse=True), shown[0]]

    def test_one_alone_stays(self, session: Session) -> None:
        session.next_candidate()
        session.set_box(BOX)
        preview = session.predict()
        session.next_candidate()
        assert session.preview is preview

    def chosen(self, session: Session) -> int:
        """Choose the second candidate of a point."""
        session.add_point(A)
        session.predict()
        session.next_candidate()
        assert session.preview is not None
        return session.preview.chosen

    @pytest.mark.parametrize(
        ("change", "stays"),
        [
            pytest.param(lambda s: s.predict(), True, id="computed again"),
            pytest.param(lambda s: s.add_point(B), True, id="a further point"),
            pytest.param(lambda s: (s.add_point(B), s.add_point(C, 0)), True, id="two, without looking"),
            pytest.param(lambda s: (s.add_point(B), s.set_points([A])), True, id="a point and back"),
            pytest.param(lambda s: (s.go_to(z=1), s.go_to(z=0)), True, id="another plane and back"),
            pytest.param(lambda s: (s.commit(), s.undo()), True, id="committed and taken back"),
            pytest.param(lambda s: s.set_points([B]), False, id="another point"),
            pytest.param(lambda s: s.set_points([A], [0]), False, id="the other label"),
            pytest.param(lambda s: s.set_box(BOX), False, id="a box"),
            pytest.param(lambda s: (s.clear_prompt(), s.add_point(A)), False, id="the same point anew"),
            pytest.param(lambda s: (s.go_to(z=1), s.add_point(A)), False, id="another plane"),
        ],
    )
    def test_the_chosen_one_stays_with_the_point_that_it_came_from(
        self, session: Session, change: Callable[[Session], object], stays: bool
    ) -> None:
        candidate = self.chosen(session)
        change(session)
        assert session.request().candidate == (candidate if stays else None)

    def test_a_plane_with_a_prompt_of_its_own_is_not_touched(self, session: Session) -> None:
        session.go_to(z=1)
        session.add_point(A)
        session.go_to(z=0)
        self.chosen(session)
        session.go_to(z=1)
        preview = session.predict()
        assert preview is not None and preview.chosen == preview.scores.argmax()

    def test_further_points_refine_the_chosen_one(self, session: Session) -> None:
        candidate = self.chosen(session)
        session.add_point(B)
        session.add_point(C, label=0)
        preview = session.predict()
        embedding = session.predictor.encode(session.planes.image(session.plane)).rounded()
        expected, best = (
            predict_refined(session.predictor, embedding, session.prompt, x) for x in (candidate, None)
        )
        assert preview is not None
        assert_array_equal(preview.scores, expected.scores)
        assert_array_equal(preview.masks, expected.masks)
        assert not np.array_equal(expected.scores, best.scores)


class TestCommit:
    def test_gives_the_next_free_label_and_clears_the_prompt(self, session: Session) -> None:
        session.set_box(BOX)
        preview = session.predict()
        assert preview is not None
        assert session.commit() == 1
        assert (session.prompt.is_empty, session.preview) == (True, None)
        session.go_to(z=1)
        assert object_at(session, A) == 2
        assert_array_equal(session.labels[0], preview.mask)

    def test_keeps_what_is_there(self, session: Session) -> None:
        session.labels[0, :, :25] = 7
        session.set_box((-0.5, -0.5, 39.5, 49.5))
        preview = session.predict()
        assert preview is not None and preview.mask[:, 25:].any()
        assert session.commit() == 8
        expected = np.where(preview.mask, 8, 0)
        expected[:, :25] = 7
        assert_array_equal(session.labels[0], expected)

    def test_without_a_preview_says_what_to_do(self, session: Session) -> None:
        with pytest.raises(ValueError, match="There is no preview to commit"):
            session.commit()
        session.add_point(A)
        with pytest.raises(ValueError, match="There is no preview to commit"):
            session.commit()
        assert session.prompt == Prompt([A])

    def test_that_leaves_nothing_to_write_keeps_preview_and_prompt(self, session: Session) -> None:
        session.labels[0] = 3
        session.set_box(BOX)
        preview = session.predict()
        with (
            signals_of(session) as emitted,
            pytest.raises(ValueError, match=r"already annotated \(label 3\)"),
        ):
            session.commit()
        assert (session.preview, session.prompt, emitted) == (preview, Prompt(box=BOX), [])
        assert [step.kind for step in session.store.ledger.steps()] == ["brush"]

    def test_that_cannot_be_written_can_be_tried_again(self, session: Session) -> None:
        session.go_to(z=2)
        session.set_box(BOX)
        preview = session.predict()
        blocked = session.store.path / "0" / "c"
        blocked.write_text("a file where a folder has to be")
        with pytest.raises(LabelsError, match="cannot be written"):
            session.commit()
        assert (session.preview, session.prompt) == (preview, Prompt(box=BOX))
        blocked.unlink()
        assert session.commit() == 2, "part of the first may be on disk: its number is not given again"


class TestUndo:
    def test_gives_the_prompt_back_to_its_plane(self, session: Session) -> None:
        object_at(session, A)
        session.go_to(z=3)
        session.set_points([B, C], [1, 0])
        session.predict()
        assert session.commit() == 2
        session.go_to(z=1)
        assert labels_of(session.undo()) == 2
        assert (session.plane.position, session.prompt) == ((3, 0, 0), Prompt([B, C], [1, 0]))
        assert labels_of(session.undo()) == 1
        assert (session.plane.position, session.prompt) == ((0, 0, 0), Prompt([A]))
        assert session.undo() is None
        assert not session.labels[:].any()

    def test_takes_strokes_back_one_by_one(self, session: Session) -> None:
        object_at(session, A)
        committed = session.labels[:]
        session.labels[1, 3, 4] = 9
        session.labels[1, 3, 5] = 9
        session.store.end_stroke()
        session.labels[1, 3, 5] = 0
        session.go_to(z=3)
        assert_array_equal(np.argwhere(session.labels[1]), [[3, 4]])
        session.undo()
        assert session.plane.position[0] == 1
        assert_array_equal(np.argwhere(session.labels[1]), [[3, 4], [3, 5]])
        session.undo()
        assert_array_equal(session.labels[:], committed)

    def test_and_redo_go_through_all_planes(self, session: Session) -> None:
        for z in (0, 3):
            session.go_to(z=z)
            object_at(session, A)
        both = session.labels[:]
        while session.undo():
            pass
        assert not session.labels[:].any()
        steps = [session.redo(), session.redo(), session.redo()]
        assert [labels_of(step) for step in steps] == [1, 2, None]
        assert_array_equal(session.labels[:], both)
        assert (session.plane.position[0], session.prompt.is_empty) == (3, True)

    def test_and_redo_clear_the_same_prompt_alone(self, session: Session) -> None:
        masks = [np.zeros((40, 50), bool) for _ in range(2)]
        masks[0][10:30, 10:30] = masks[1][5:20, 20:45] = True
        session.set_prompt(Prompt(mask=masks[0]))
        session.predict()
        session.commit()
        session.undo()
        session.redo()
        assert session.prompt.is_empty
        session.undo()
        session.set_prompt(Prompt(mask=masks[1]))
        session.redo()
        assert session.prompt.mask is masks[1]

    @pytest.mark.parametrize(
        "edit",
        [
            pytest.param(lambda s: s.objects.renumber(2, 7), id="renumber"),
            pytest.param(lambda s: s.objects.merge([1, 2]), id="merge"),
        ],
    )
    def test_of_an_edit_leaves_the_unfinished_prompt(
        self, session: Session, edit: Callable[[Session], object]
    ) -> None:
        object_at(session, A)
        session.go_to(z=1)
        object_at(session, A)
        edit(session)
        session.add_point(B)
        session.undo()
        assert session.prompt == Prompt([B])

    def test_of_a_stroke_keeps_the_way_the_planes_lie(self, session: Session) -> None:
        session.show(Plane((0, 2), (0, 20, 0)))
        session.labels[1, 20, 5:9] = 3
        session.undo()
        assert session.plane == Plane((0, 2), (0, 20, 0))
        session.show(Plane((0, 2), (0, 4, 0)))
        session.redo()
        assert session.plane == Plane((0, 2), (0, 20, 0))

    def test_of_a_stroke_where_channels_come_last(self, nano_predictor: Predictor, tmp_path: Path) -> None:
        session = channels_last(nano_predictor, tmp_path)
        session.labels[1, 20, 5:9] = 3
        session.undo()
        assert session.plane == Plane((1, 2), (1, 0, 0, 0))


class TestTakeUp:
    def test_shows_the_prompts_and_the_next_commit_replaces_the_mask(self, session: Session) -> None:
        session.set_box(BOX)
        session.predict()
        session.commit()
        session.go_to(z=2)
        session.take_up(1)
        assert (session.plane.position[0], session.prompt, session.target) == (0, Prompt(box=BOX), 1)
        session.add_point(B, 0)
        preview = session.predict()
        assert preview is not None and session.target == 1
        assert session.commit() == 1
        assert_array_equal(session.labels[0], preview.mask)
        assert session.target is None
        session.undo()
        assert (session.prompt, session.target) == (Prompt([B], [0], BOX), 1)
        session.clear_prompt()
        assert session.target is None

    def test_what_was_painted_is_its_own_mask_prompt(self, session: Session) -> None:
        session.labels[0, 10:20, 10:20] = 5
        session.take_up(5)
        assert session.prompt.mask is not None
        assert_array_equal(session.prompt.mask, session.labels[0] == 5)

    def test_ends_where_an_undo_brings_another_objects_prompt(self, session: Session) -> None:
        first, second = object_at(session, A), object_at(session, C)
        mask = session.labels[0] == first
        session.take_up(first)
        assert labels_of(session.undo()) == second
        assert (session.prompt, session.target) == (Prompt([C]), None)
        session.predict()
        assert session.commit() == 3
        assert_array_equal(session.labels[0] == first, mask)

    def test_leaves_an_unfinished_prompt_alone(self, session: Session) -> None:
        first = object_at(session, A)
        session.add_point(C)
        session.go_to(z=1)
        session.add_point(B)
        with pytest.raises(ValueError, match="Commit or clear the prompt of the plane z 0 first"):
            session.take_up(first)
        assert (session.prompt, session.target, session.plane.position[0]) == (Prompt([B]), None, 1)
        session.go_to(z=0)
        assert session.prompt == Prompt([C])
        session.clear_prompt()
        session.take_up(first)
        session.take_up(first)  # what was only taken up is not unfinished
        assert (session.prompt, session.target) == (Prompt([A]), first)

    def test_asks_whoever_shows_the_plane_what_is_prompted_there(self, session: Session) -> None:
        first, drawn = object_at(session, A), {0: Prompt([C])}
        session.go_to(z=1)

        def read_what_is_drawn() -> None:
            session.set_prompt(drawn.get(session.plane.position[0], Prompt()))

        session.plane_changed.connect(read_what_is_drawn)
        with pytest.raises(ValueError, match="Commit or clear the prompt of the plane z 0 first"):
            session.take_up(first)
        assert session.plane.position[0] == 1
        drawn.clear()
        session.take_up(first)
        assert (session.prompt, session.target) == (Prompt([A]), first)

    def test_of_an_object_that_is_deleted_meanwhile_makes_a_new_one(self, session: Session) -> None:
        first = object_at(session, A)
        session.take_up(first)
        session.objects.delete([first])
        assert session.target is None
        session.predict()
        assert session.commit() == 2

    def test_of_what_was_painted_elsewhere_shows_a_plane_that_lies_as_the_shown_one(
        self, session: Session
    ) -> None:
        session.labels[1, 20:23, 5:9] = 3
        session.show(Plane((0, 2), (0, 4, 0)))
        session.take_up(3)
        assert session.plane == Plane((0, 2), (0, 21, 0))
        assert session.prompt.mask is not None
        assert_array_equal(session.prompt.mask, session.labels[:, 21] == 3)

    def test_where_channels_come_last(self, nano_predictor: Predictor, tmp_path: Path) -> None:
        session = channels_last(nano_predictor, tmp_path)
        session.labels[1, 20, 5:9] = 3
        session.take_up(3)
        assert session.plane == Plane((1, 2), (1, 0, 0, 0))
        assert (session.prompt.mask is not None, session.target) == (True, 3)

    def test_of_nothing_changes_nothing(self, session: Session) -> None:
        session.add_point(A)
        with pytest.raises(ValueError, match="There is no object 3"):
            session.take_up(3)
        assert (session.prompt, session.target) == (Prompt([A]), None)


class TestRun:
    @pytest.fixture
    def session(self, nano_predictor: Predictor, tmp_path: Path) -> Session:
        """One whose planes are yet to be encoded."""
        return make_session(nano_predictor, tmp_path)

    def test_is_the_same_in_a_thread(self, session: Session) -> None:
        session.set_box(BOX)
        with ThreadPoolExecutor(1) as pool:
            response = pool.submit(session.run, session.request()).result()
        assert session.preview is None
        assert session.accept(response)
        shown = session.preview
        assert shown is not None
        assert_array_equal(shown.masks, session.predict().masks)

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda s: s.add_point(B), id="the prompt"),
            pytest.param(lambda s: s.clear_prompt(), id="no prompt any more"),
            pytest.param(lambda s: (s.set_box(None), s.set_box(BOX)), id="the same prompt anew"),
            pytest.param(lambda s: s.go_to(z=1), id="the plane"),
            pytest.param(lambda s: (s.go_to(z=1), s.go_to(z=0)), id="the plane and back"),
        ],
    )
    def test_a_stale_answer_is_dropped(self, session: Session, change: Callable[[Session], object]) -> None:
        session.set_box(BOX)
        response = session.run(session.request())
        change(session)
        with signals_of(session) as emitted:
            assert not session.accept(response)
        assert (session.preview, emitted) == (None, [])

    def test_a_prompt_that_changes_meanwhile_is_not_mixed_in(self, session: Session) -> None:
        """The request is frozen: the answer is to what was asked, however far the session has moved on."""
        session.set_box(BOX)
        request = session.request()
        encoding, changed = threading.Event(), threading.Event()

        def wait(_: float) -> None:
            encoding.set()
            assert changed.wait(60)

        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(session.run, request, wait)
            assert encoding.wait(60)
            session.add_point(B, label=0)
            session.go_to(z=2)
            changed.set()
            response = answer.result()
        assert response.preview is not None
        assert (response.preview.plane.position, response.preview.prompt) == ((0, 0, 0), Prompt(box=BOX))
        assert not session.accept(response)
        session.go_to(z=0)
        assert session.prompt == Prompt([B], [0], BOX)

    def test_an_answer_under_way_does_not_undo_the_choice(self, session: Session) -> None:
        session.add_point(A)
        session.predict()
        response = session.run(session.request())
        session.next_candidate()
        chosen = session.preview
        assert not session.accept(response)
        assert session.preview is chosen

    def test_of_the_embedding_alone_is_ahead_of_the_prompt(self, session: Session) -> None:
        session.add_point(A)
        reports: list[float] = []
        response = session.run(session.request(preview=False), reports.append)
        assert session.accept(response)
        assert (response.preview, session.preview, reports[-1]) == (None, None, 1)
        session.run(session.request(), reports.append)
        assert reports.count(1) == 1

    def test_is_cancelled_by_raising_in_progress(self, session: Session) -> None:
        session.set_box(BOX)
        request = session.request()

        def cancel(done: float) -> None:
            raise InterruptedError(f"at {done:.0%}")

        with pytest.raises(InterruptedError, match="at 25%"):
            session.run(request, cancel)
        assert session.accept(session.run(request))
        assert session.preview is not None

    def test_an_edited_plane_is_encoded_again(self, nano_predictor: Predictor, tmp_path: Path) -> None:
        stack = STACK.copy()
        planes = Planes(stack, "zyx")
        store = LabelsStore.create(tmp_path / "cells.zarr", planes.shape, planes.axes)
        session = Session(planes, nano_predictor, store, EmbeddingCache(planes, nano_predictor, None))
        reports: list[float] = []
        session.run(session.request(), reports.append)
        stack[0, :20] = stack[0, 20:]
        session.run(session.request(), reports.append)
        assert reports.count(1) == 2


class TestCache:
    def test_is_found_by_the_next_session(self, nano_predictor: Predictor, tmp_path: Path) -> None:
        reports: list[float] = []
        for _ in range(2):
            session = make_session(nano_predictor, tmp_path, cache=tmp_path / "cache")
            session.set_box(BOX)
            session.accept(session.run(session.request(), reports.append))
            assert session.preview is not None
        assert reports.count(1) == 1

    def test_trouble_with_the_disk_is_told_once(self, nano_predictor: Predictor, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        session = make_session(nano_predictor, tmp_path, cache=tmp_path / "file" / "cache")
        notices: list[str] = []
        session.noticed.connect(notices.append)
        for z in range(3):
            session.go_to(z=z)
            assert object_at(session, A) == z + 1
        (notice,) = notices
        assert notice.startswith("Embeddings are kept in memory only:")


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        pytest.param(lambda s: s.go_to(z=1), ["preview_changed", "plane_changed"], id="go_to"),
        pytest.param(lambda s: s.go_to(z=0), [], id="go_to the same"),
        pytest.param(lambda s: s.add_point(B), ["preview_changed", "prompt_changed"], id="add_point"),
        pytest.param(lambda s: s.set_points([A]), [], id="set the same"),
        pytest.param(lambda s: s.predict(), ["preview_changed"], id="predict"),
        pytest.param(lambda s: s.next_candidate(), ["preview_changed"], id="next_candidate"),
        pytest.param(lambda s: s.commit(), ["preview_changed", "prompt_changed", "committed"], id="commit"),
        pytest.param(lambda s: s.clear_prompt(), ["preview_changed", "prompt_changed"], id="clear_prompt"),
        pytest.param(lambda s: s.undo(), [], id="nothing to undo"),
    ],
)
def test_a_change_is_signalled_once(
    session: Session, act: Callable[[Session], object], expected: list[str]
) -> None:
    session.add_point(A)
    session.predict()
    with signals_of(session) as emitted:
        act(session)
    assert emitted == expected


def test_an_undo_is_signalled_once(session: Session) -> None:
    object_at(session, A)
    with signals_of(session) as emitted:
        session.undo()
    assert emitted == ["undone", "prompt_changed"]


class TestDefaultLabelsPath:
    @pytest.mark.parametrize(
        ("file", "expected"),
        [
            pytest.param("cells.tif", "cells.labels.zarr", id="tif"),
            pytest.param("cells.ome.tif", "cells.labels.zarr", id="OME-TIFF"),
            pytest.param("plate1.well2.tif", "plate1.well2.labels.zarr", id="dots that tell images apart"),
            pytest.param("cells.zarr", "cells.labels.zarr", id="zarr"),
            pytest.param("cells.png", "cells.png.labels.zarr", id="another kind of file"),
            pytest.param("cells", "cells.labels.zarr", id="no suffix"),
        ],
    )
    def test_is_beside_the_image(self, tmp_path: Path, file: str, expected: str) -> None:
        assert default_labels_path("layer", tmp_path / file) == tmp_path / expected

    def test_beside_the_image_it_is_found_again(self, tmp_path: Path) -> None:
        path = default_labels_path("layer", tmp_path / "cells.tif")
        path.mkdir()
        assert default_labels_path("other layer", tmp_path / "cells.tif") == path

    def test_each_scene_of_a_file_has_its_own(self, tmp_path: Path) -> None:
        file = tmp_path / "plate.czi"
        paths = [default_labels_path("layer", file, scene) for scene in (None, "1 B/3", "2 B/3", "x" * 200)]
        assert [path.name for path in paths[:3]] == [
            "plate.czi.labels.zarr",
            "plate.czi.scene-1_B_3.labels.zarr",
            "plate.czi.scene-2_B_3.labels.zarr",
        ]
        assert len(paths[3].name) < 120 and paths[3].name.startswith("plate.czi.scene-x")

    @pytest.mark.parametrize("letter", ["x", "細"])
    def test_beside_an_image_of_a_long_name_is_one_of_its_own(self, tmp_path: Path, letter: str) -> None:
        stem = letter * (240 // len(letter.encode()))
        paths = [default_labels_path("layer", tmp_path / f"{stem}{number}.tif") for number in "12"]
        for path in paths:
            LabelsStore.create(path, (3, 4), "yx").close()
        assert paths == [default_labels_path("layer", tmp_path / f"{stem}{number}.tif") for number in "12"]
        assert len(set(paths)) == 2

    def test_that_was_long_already_is_found_again(self, tmp_path: Path) -> None:
        path = tmp_path / f"{'x' * 200}.labels.zarr"
        path.mkdir()
        assert default_labels_path("layer", tmp_path / f"{'x' * 200}.tif") == path

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The user's data folder, empty."""
        monkeypatch.setattr(platformdirs, "user_data_path", lambda name: tmp_path / name)
        return tmp_path / "napari-sam" / "labels"

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            pytest.param("cells", "cells.labels.zarr", id="plain"),
            pytest.param("../a b: [1]", ".._a_b___1_.labels.zarr", id="signs"),
            pytest.param("", "image.labels.zarr", id="no name"),
            pytest.param("細胞", "細胞.labels.zarr", id="letters of any script"),
            pytest.param("x" * 999, "x" * 100 + ".labels.zarr", id="long"),
            pytest.param("細胞" * 99, "細胞" * 16 + "細.labels.zarr", id="long in bytes"),
        ],
    )
    def test_is_else_in_the_users_data_folder(self, folder: Path, name: str, expected: str) -> None:
        assert default_labels_path(name) == folder / expected

    def test_of_a_file_whose_folder_cannot_be_written_are_found_again_there(
        self, folder: Path, tmp_path: Path
    ) -> None:
        files = [tmp_path / "gone" / "cells.ome.tif", tmp_path / "gone too" / "cells.ome.tif"]
        scenes = (None, "2", "x" * 200)
        paths = [default_labels_path("layer", file, scene) for file in files for scene in scenes]
        assert {path.parent for path in paths} == {folder} and len(set(paths)) == 6
        assert paths[0].name.startswith("cells-") and paths[1].name.startswith("cells.scene-2-")
        LabelsStore.create(paths[0], (3, 4), "yx").close()
        assert default_labels_path("layer", files[0]) == paths[0]

    def test_is_never_anothers_there(self, folder: Path, tmp_path: Path) -> None:
        """Two images of the same name and shape, one after the other, do not share their labels."""
        paths = []
        for _ in range(3):
            session = open_session(STACK, "zyx", name="cells", cache=tmp_path / "cache")
            paths.append(session.store.path.name)
        assert paths == ["cells.labels.zarr", "cells-2.labels.zarr", "cells-3.labels.zarr"]


class TestLargePlanes:
    def test_are_clicked_at_their_own_scale_and_written_where_the_object_is(self, tmp_path: Path) -> None:
        """A nucleus that scaling the plane down to the model's input would lose."""
        image = np.full((2, 2400, 3100), 30, np.uint8)
        rows, columns = np.ogrid[:2400, :3100]
        nucleus = np.hypot(rows - 1500, columns - 2300) < 20
        image[1][nucleus] = 200
        session = open_session(image, "zyx", labels=tmp_path / "cells.zarr", cache=tmp_path / "cache")
        session.go_to(z=1)
        session.add_point((1503, 2296))
        preview = session.predict()
        assert preview is not None and preview.mask.shape == (2400, 3100)
        assert (preview.found.tile.height, preview.found.tile.width) == (512, 512)
        session.commit()
        written = np.asarray(session.labels[1]) == 1
        assert np.count_nonzero(written & nucleus) / np.count_nonzero(written | nucleus) > 0.75
        assert session.ready().ravel().tolist() == [False, True]


def test_axes_are_letters_in_whichever_case(tiny_predictor: Predictor, tmp_path: Path) -> None:
    """As tifffile writes them."""
    session = open_session(STACK, "ZYX", tiny_predictor, tmp_path / "cells.zarr", cache=tmp_path / "cache")
    session.go_to(Z=1)
    session.labels[1, 3:9, 3:9] = 1
    (row,) = session.objects.rows()
    assert row.volume == 36
    session.close()
