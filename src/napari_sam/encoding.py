"""The embeddings of an image's tiles: looked up, or computed and kept; what the user waits for goes first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.predictor import Predictor
from napari_sam.inference.results import Embedding
from napari_sam.inference.tiling import Tile
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.progress import Progress, ignore_progress
from napari_sam.storage.embeddings import EmbeddingCache

# So often a call that waits tells its progress, and can be cancelled.
_POLL_S = 0.05
# The picture of what the model sees has about so many pixels on a side.
_PICTURE = 256


class Embedder:
    """Give the embedding of any tile of an image; safe to use from several threads.

    No tile is encoded twice at the same time, and an encoding in the background pauses while the user waits
    for anything else.

    Attributes
    ----------
    planes
        The image.
    cache
        What was encoded before.
    """

    def __init__(self, planes: Planes, predictor: Predictor, cache: EmbeddingCache) -> None:
        self.planes = planes
        self.cache = cache
        self._predictor = predictor
        # Guards all below.
        self._state = threading.Condition()
        self._looked_at: dict[tuple[Plane, Tile], bytes] = {}
        self._made: dict[Plane, dict[Tile, bytes]] = {}
        self._kept: dict[Plane, frozenset[Tile]] = {}
        self._seen: tuple[Plane, Tile, NDArray[np.uint8]] | None = None
        self._encoding: set[bytes] = set()
        self._wanted: list[bytes] = []
        self._users = 0

    def whole(self, plane: Plane) -> Tile | None:
        """Give the tile that is the whole plane; None for a plane so large that its prompts choose tiles."""
        tiling = self._predictor.tiling(plane.shape(self.planes.shape))
        return tiling.whole if tiling.coarsest == 0 else None

    def prepare(self, plane: Plane, progress: Progress = ignore_progress, background: bool = False) -> None:
        """See that a plane is ready for prompts; tiles of a large one are encoded when a prompt is there."""
        if (tile := self.whole(plane)) is not None:
            self.embed(plane, tile, progress, background)
        else:
            self._list_tiles(plane)

    def prepare_all(
        self,
        planes: Sequence[Plane],
        tell: Callable[[str], None],
        progress: Progress = ignore_progress,
    ) -> int:
        """See that planes are ready, in their order, as long as there is room for all that were made ready.

        Parameters
        ----------
        planes
            Of one shape. Large ones, of which prompts choose the tiles, are left out.
        tell
            Told why not all can be ready at once, as soon as that is known.
        progress
            Told the share that is done; what it raises ends the call.

        Returns
        -------
        int
            How many of the planes are ready at the end.
        """
        some = [plane for plane in planes if self.whole(plane) is not None]
        done, told = 0, None
        for plane in some:
            # Asked anew each time: a disk that cannot be written any more leaves the memory alone.
            room, shortage = self.cache.room_for(len(some))
            if shortage is not None and shortage != told:
                tell(shortage if self.cache.problem is None else f"{self.cache.problem} {shortage}")
                told = shortage
            if done >= room:
                break
            self.prepare(plane)
            self.touch(plane)  # what was at hand before must not go to make room for the rest
            done += 1
            progress(done / min(room, len(some)))
        ready = sum(map(self.is_made, some))
        if ready < done and told is None:
            tell(f"Of {done} planes that were encoded {done - ready} were deleted again to make room.")
        return ready

    def embed(
        self, plane: Plane, tile: Tile, progress: Progress = ignore_progress, background: bool = False
    ) -> Embedding:
        """Take the tile's embedding from the cache, or compute and keep it.

        Parameters
        ----------
        plane, tile
            What to encode.
        progress
            Told the share of the encoding that is done; what it raises ends the call.
        background
            Whether nobody waits for it.
        """
        self._list_tiles(plane)
        with nullcontext() if background else self.first():
            digest, raw = self._look_at(plane, tile, background)
            with self._turn(digest, background, progress):
                embedding = self.cache.get(plane, tile, digest)
                if embedding is None:
                    if raw is None:  # looked at earlier, and perhaps edited since
                        raw = self.planes.read(plane, *tile.index)
                        digest = self.planes.digest(raw)
                    report = self._pausing(digest, progress) if background else progress
                    embedding = self._predictor.encode(self.planes.shown(raw), report).rounded()
                    self.cache.put(plane, tile, digest, embedding)
        with self._state:
            self._made.setdefault(plane, {})[tile] = digest
        return embedding

    def at_hand(self, plane: Plane, tile: Tile) -> Embedding | None:
        """Give the tile's embedding as it was made last, if that takes no encoding; pixels are not read."""
        with self._state:
            digest = self._made.get(plane, {}).get(tile)
        return None if digest is None else self.cache.get(plane, tile, digest)

    def seen(self, plane: Plane) -> tuple[Tile, NDArray[np.uint8]] | None:
        """Give a small picture of the plane's tile that the model looked at last, in its contrast."""
        with self._state:
            seen = self._seen
        return None if seen is None or seen[0] != plane else seen[1:]

    @contextmanager
    def first(self) -> Iterator[None]:
        """Let encodings in the background pause: the user waits."""
        with self._state:
            self._users += 1
        try:
            yield
        finally:
            with self._state:
                self._users -= 1
                self._state.notify_all()

    def look_again(self, plane: Plane) -> None:
        """Read the plane's pixels anew when they are next asked for: they may have been edited."""
        with self._state:
            for key in [key for key in self._looked_at if key[0] == plane]:
                del self._looked_at[key]

    def is_made(self, plane: Plane) -> bool:
        """Whether the plane, or a tile of it, was encoded or looked up here, and is at hand."""
        return bool(self._made_tiles(plane))

    def touch(self, plane: Plane) -> None:
        """Let what is at hand of the plane be the last to go when room is made: the user is near it."""
        with self._state:
            tiles = list(self._made.get(plane, ()))
        for tile in tiles:
            self.cache.touch(plane, tile)

    def ready_tiles(self, plane: Plane) -> frozenset[Tile]:
        """Give the tiles of a large plane that are at hand, as far as it was worked on here; see `ready`."""
        with self._state:
            listed = self._kept.get(plane, frozenset())
        return frozenset(x for x in listed if self.cache.keeps(plane, x)) | set(self._made_tiles(plane))

    def _list_tiles(self, plane: Plane) -> None:
        """Learn, once, which tiles of a large plane the disk holds."""
        with self._state:
            if plane in self._kept or self.whole(plane) is not None:
                return
        kept = self.cache.kept_tiles(plane)
        tiles = self._predictor.tiling(plane.shape(self.planes.shape)).tiles() if kept else ()
        found = frozenset(tile for number, tile in enumerate(tiles) if number in kept)
        with self._state:
            self._kept[plane] = found

    def ready(self, displayed: tuple[int, int]) -> NDArray[np.bool_]:
        """Tell of each plane along ``displayed`` whether the embedding of it, or of a tile of it, is at hand.

        The shape is that of the image, 1 along the displayed axes. A plane that was edited since counts as
        ready until it is shown.
        """
        found = self.cache.kept(displayed)
        with self._state:
            made = {
                plane: list(x.values()) for plane, x in self._made.items() if plane.displayed == displayed
            }
        for plane, digests in made.items():
            found[plane.position] |= any(map(self.cache.remembers, digests))
        return found

    def _made_tiles(self, plane: Plane) -> list[Tile]:
        """List the plane's tiles that were encoded or looked up here, and are at hand."""
        with self._state:
            made = dict(self._made.get(plane, {}))
        return [tile for tile, digest in made.items() if self.cache.holds(plane, tile, digest)]

    def _look_at(
        self, plane: Plane, tile: Tile, background: bool
    ) -> tuple[bytes, NDArray[np.generic] | None]:
        """Name the tile's pixels, and give them if they were read for it.

        Pixels in memory are looked at each time, others that the user waits for once until `look_again`.
        """
        key = (plane, tile)
        with self._state:
            if key in self._looked_at and not background:
                return self._looked_at[key], None
        raw = self.planes.read(plane, *tile.index)
        digest = self.planes.digest(raw)
        if not background:
            picture = self.planes.shown(_thinned(raw))
            with self._state:
                self._seen = (plane, tile, picture)
                if not self.planes.in_memory:
                    self._looked_at[key] = digest
        return digest, raw

    @contextmanager
    def _turn(self, digest: bytes, background: bool, progress: Progress) -> Iterator[None]:
        """Wait until nobody else encodes the same pixels, and claim them."""
        with self._state:
            if not background:
                self._wanted.append(digest)
                self._state.notify_all()
        try:
            while not self._claim(digest):
                progress(0.0)  # raises if the call was cancelled
            try:
                yield
            finally:
                with self._state:
                    self._encoding.discard(digest)
                    self._state.notify_all()
        finally:
            if not background:
                with self._state:
                    self._wanted.remove(digest)

    def _claim(self, digest: bytes) -> bool:
        """Wait a moment for a tile's turn, and take it."""
        with self._state:
            free = self._state.wait_for(lambda: digest not in self._encoding, _POLL_S)
            if free:
                self._encoding.add(digest)
            return free

    def _pausing(self, digest: bytes, progress: Progress) -> Progress:
        """Let an encoding in the background pause while the user waits, unless it is for this very one."""

        def may_go_on() -> bool:
            return self._users == 0 or digest in self._wanted

        def report(done: float) -> None:
            progress(done)
            while True:
                with self._state:
                    if self._state.wait_for(may_go_on, _POLL_S):
                        return
                progress(done)

        return report


def _thinned(raw: NDArray[np.generic]) -> NDArray[np.generic]:
    """Take every n-th pixel, so that few are left."""
    step = max(1, max(raw.shape[:2]) // _PICTURE)
    return raw[::step, ::step]
