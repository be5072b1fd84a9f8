"""The keys of the annotation, and the words on their buttons."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shortcut:
    """A key, and the words on its button."""

    key: str
    text: str
    help: str

    @property
    def label(self) -> str:
        """The button's text with its key."""
        return f"{self.text}  [{self.key}]"


# Letters that napari leaves free while an image, points, shapes or labels layer is active; C alone is taken,
# by the contrast of an active image layer.
POINT_TOOL = Shortcut("G", "Points", "Click on the object; G goes on to boxes, lasso, scribble.")
BOX_TOOL = Shortcut("G", "Boxes", "Drag a rectangle around the object; G goes on to the next tool.")
AREA_TOOL = Shortcut("G", "Lasso", "Draw around the object; napari's polygons and ellipses count as well.")
STROKE_TOOL = Shortcut("G", "Scribble", "Draw a line over the object, or, after Q, over what is beside it.")
HOVER = Shortcut("H", "Outline under the cursor", "Where the cursor rests, show what a click would give.")
EACH = Shortcut("N", "One object per prompt", "Each box, area or click is an object; commit writes them all.")
LABEL = Shortcut("U", "Use label", "Take the selected object of the Labels layer as a prompt, to refine it.")
POLARITY = Shortcut("Q", "Click adds", "Whether the next click lies on the object or beside it.")
NEXT = Shortcut("W", "Next candidate", "A click may mean a part or the whole: show the next of three masks.")
COMMIT = Shortcut("C", "Commit", "Write the mask into the labels as a new object; what is there stays.")
PROPAGATE = Shortcut(
    "Shift+C", "Along", "Commit, and carry the object on along {0} to all planes that it is on."
)
CLEAR = Shortcut("K", "Clear", "Take the prompts of this plane away.")
# In a Labels layer that is not the session's these two are napari's own: see `own_strokes`.
UNDO = Shortcut("Ctrl+Z", "Undo", "Take the last step back: commit, edit or brush stroke; prompts return.")
REDO = Shortcut("Ctrl+Shift+Z", "Redo", "Do again what was taken back last.")
PREDICT = Shortcut("J", "Predict", "Compute the mask of the prompts now.")
