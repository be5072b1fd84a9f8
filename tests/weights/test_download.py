"""Weights come over the network whole and checked, whatever the network does, or not at all."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from napari_sam.weights.catalogue import ModelRow
from napari_sam.weights.download import fetch, terminal_report
from napari_sam.weights.folder import is_here, part_of, path_of
from napari_sam.weights.transfer import DownloadError, _Answer
from weights.conftest import CONTENT
from weights.serving import PIECE, Site

HALF = len(CONTENT) // 2


class Stopped(Exception):
    """What a user's cancel raises."""


def stop_at(share: float) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done >= share * total:
            raise Stopped

    return report


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_the_file_is_downloaded_once(site: Site, row: ModelRow, models_folder: Path) -> None:
    reports: list[tuple[int, int]] = []
    first = fetch(row, lambda *report: reports.append(report))
    assert fetch(row) == first
    assert first.path.read_bytes() == CONTENT
    assert first.sha256 == row.sha256
    assert site.asked == [0]
    assert reports[-1] == (len(CONTENT), len(CONTENT))
    assert files(models_folder) == {"small.pth", "small.pth.json"}


class TestCut:
    @pytest.mark.parametrize(
        "cuts", [[5 * PIECE], [0, PIECE, 0, 3 * PIECE, 0, PIECE], [PIECE - 1, PIECE]], ids=str
    )
    def test_what_is_missing_is_asked_for(self, site: Site, row: ModelRow, cuts: list[int]) -> None:
        site.cuts = [*cuts]
        assert fetch(row).path.read_bytes() == CONTENT
        came = [cut // PIECE * PIECE for cut in cuts]  # a piece that breaks off is lost
        assert site.asked == [sum(came[:i]) for i in range(len(came) + 1)]

    def test_a_server_that_cannot_continue_sends_all_again(self, site: Site, row: ModelRow) -> None:
        site.cuts, site.ranges = [HALF], False
        assert fetch(row).path.read_bytes() == CONTENT

    def test_another_version_is_not_appended_to_the_first(
        self, site: Site, row: ModelRow, models_folder: Path
    ) -> None:
        """Nothing but the server's tag tells the two apart where no hash is published."""
        row = replace(row, sha256=None, xxh128=None)
        with pytest.raises(Stopped):
            fetch(row, stop_at(0))
        site.content, site.etag = CONTENT[::-1], '"v2"'
        assert fetch(row).path.read_bytes() == CONTENT[::-1]

    def test_without_tag_and_hash_it_starts_over(self, site: Site, row: ModelRow) -> None:
        row, site.etag = replace(row, sha256=None, xxh128=None), ""
        with pytest.raises(Stopped):
            fetch(row, stop_at(0))
        fetch(row)
        assert site.asked == [0, 0]

    def test_a_line_that_brings_nothing_is_given_up_and_what_came_is_kept(
        self, site: Site, row: ModelRow
    ) -> None:
        site.cuts = [5 * PIECE, *[0] * 20]
        with pytest.raises(DownloadError, match=r"the connection was cut\. 81\.9 KB have come and are kept"):
            fetch(row)
        assert not is_here(row)
        site.cuts = []
        assert fetch(row).path.read_bytes() == CONTENT
        assert site.asked[-1] == 5 * PIECE

    def test_the_next_call_continues_a_cancelled_one(self, site: Site, row: ModelRow) -> None:
        site.slow = 0.05
        with pytest.raises(Stopped):
            fetch(row, stop_at(0.4))
        assert not is_here(row)
        came = part_of(row).stat().st_size
        assert 0.4 * len(CONTENT) <= came < len(CONTENT)
        site.slow = 0.0
        assert fetch(row).path.read_bytes() == CONTENT
        assert site.asked == [0, came]

    def test_a_part_that_is_complete_already_is_used(self, site: Site, row: ModelRow) -> None:
        """As if the process had ended between the last byte and the check."""
        part_of(row).parent.mkdir()
        part_of(row).write_bytes(CONTENT)
        assert fetch(row).path.read_bytes() == CONTENT
        assert site.asked == [len(CONTENT)]

    @pytest.mark.parametrize("left", [b"\0" * HALF, b"\0" * 3 * HALF], ids=["other bytes", "too long"])
    def test_a_foreign_part_is_replaced(self, row: ModelRow, left: bytes) -> None:
        part_of(row).parent.mkdir()
        part_of(row).write_bytes(left)
        assert fetch(row).path.read_bytes() == CONTENT


class TestWrongFile:
    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"<html>Please log in</html>", id="login page"),
            pytest.param(CONTENT[:-1] + b"x", id="one byte"),
            pytest.param(CONTENT + b"x", id="one byte more"),
            pytest.param(CONTENT * 20, id="much longer"),
            pytest.param(b"", id="empty"),
        ],
    )
    @pytest.mark.parametrize("published", ["sha256", "xxh128"])
    def test_it_is_deleted_and_never_used(
        self, site: Site, row: ModelRow, models_folder: Path, content: bytes, published: str
    ) -> None:
        hidden = {"sha256": "xxh128", "xxh128": "sha256"}[published]
        site.content = content
        with pytest.raises(
            DownloadError, match="are not the published file of Small model; they were deleted"
        ):
            fetch(replace(row, **{hidden: None}))
        assert files(models_folder) == set()

    def test_an_endless_file_does_not_fill_the_disk(self, site: Site, row: ModelRow) -> None:
        site.content = CONTENT * 400
        with pytest.raises(DownloadError, match=r"sent 262144 bytes that are not the published file"):
            fetch(row)


class TestNoNetwork:
    def unreachable(self) -> str:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return f"http://127.0.0.1:{server.getsockname()[1]}/model.pth"

    def test_the_message_names_the_address_and_the_place_of_the_file(
        self, row: ModelRow, models_folder: Path
    ) -> None:
        row = replace(row, address=self.unreachable())
        with pytest.raises(DownloadError, match="the server cannot be reached") as caught:
            fetch(row)
        assert f"download {row.address} on another computer" in str(caught.value)
        assert f"put it into the folder {models_folder} as small.pth" in str(caught.value)

    def test_a_file_that_was_put_there_is_used(self, row: ModelRow, models_folder: Path) -> None:
        models_folder.mkdir()
        (models_folder / "small.pth").write_bytes(CONTENT)
        assert fetch(replace(row, address=self.unreachable())).sha256 == row.sha256

    def test_a_proxy_that_does_not_answer_is_named(
        self, row: ModelRow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", self.unreachable())
        monkeypatch.setenv("http_proxy", self.unreachable())
        row = replace(row, address="http://models.invalid/model.pth")
        with pytest.raises(DownloadError, match="the proxy that HTTPS_PROXY names does not let it through"):
            fetch(row)

    def test_the_proxy_is_used(self, site: Site, row: ModelRow, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(variable, site.address)
        row = replace(row, address="http://models.invalid/model.pth")
        assert fetch(row).path.read_bytes() == CONTENT

    @pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (503, 5), (429, 5)])
    def test_a_refusal_is_told_and_only_a_passing_one_is_tried_again(
        self, site: Site, row: ModelRow, status: int, tries: int
    ) -> None:
        site.status = status
        with pytest.raises(DownloadError, match=f"the server answers {status} "):
            fetch(row)
        assert len(site.asked) == tries

    def test_a_silent_server_is_given_up(
        self, site: Site, row: ModelRow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("napari_sam.weights.transfer.SILENCE_S", 0.2)
        monkeypatch.setattr("napari_sam.weights.download._FRUITLESS_TRIES", 1)
        site.gate, site.ranges = threading.Event(), False
        with pytest.raises(DownloadError, match="the server was silent"):
            fetch(row)
        assert part_of(row).stat().st_size > 0


def test_a_slow_download_shows_how_it_moves(site: Site, row: ModelRow) -> None:
    site.slow = 0.03
    reports: list[int] = []
    fetch(row, lambda done, _: reports.append(done))
    assert len(reports) > 2 and reports == sorted(reports)


def test_a_secure_address_may_not_lead_to_an_open_one(site: Site, row: ModelRow) -> None:
    part_of(row).parent.mkdir()
    with part_of(row).open("ab") as file:
        answer = _Answer(replace(row, address="https://models.invalid/model.pth"), file)
        with (
            requests.get(site.address, timeout=5) as response,
            pytest.raises(requests.exceptions.InvalidURL, match="anyone on the way can change"),
        ):
            answer.begin(response)


def test_a_folder_that_cannot_be_written_is_named(
    row: ModelRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAPARI_SAM_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(DownloadError, match=r"file/models cannot be written \(Not a directory\)"):
        fetch(row)


def test_a_full_disk_is_told_before_the_download(
    site: Site, row: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DownloadError, match=r"has 1 KB left, but Small model needs 256 KB more"):
        fetch(row)


class TestAtOnce:
    def test_threads_share_one_download(self, site: Site, row: ModelRow) -> None:
        site.gate = threading.Event()
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(fetch, row) for _ in range(3)]
            site.gate.set()
            found = {future.result().path for future in waiting}
        assert found == {path_of(row)}
        assert site.asked == [0]

    def test_processes_share_one_download(self, site: Site, row: ModelRow) -> None:
        code = (
            "from napari_sam.weights.catalogue import ModelRow\n"
            "from napari_sam.weights.download import fetch\n"
            f"print(fetch({row!r}).sha256)"
        )
        site.gate = threading.Event()
        processes = [
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        site.gate.set()
        hashes = {process.communicate()[0].strip() for process in processes}
        assert hashes == {row.sha256}
        assert site.asked == [0]

    def test_who_waits_for_another_can_still_cancel(self, site: Site, row: ModelRow) -> None:
        site.gate, began = threading.Event(), threading.Event()
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(fetch, row, lambda *_: began.set())
            assert began.wait(10)
            with pytest.raises(Stopped):
                fetch(row, stop_at(0))
            site.gate.set()
            assert working.result().path == path_of(row)


def test_the_terminal_is_told_what_comes_from_where(
    row: ModelRow, capsys: pytest.CaptureFixture[str]
) -> None:
    with terminal_report(row) as report:
        fetch(row, report)
    told = capsys.readouterr().err
    assert "Downloading Small model (256 KB, licence CC0-1.0) from http://127.0.0.1" in told
    assert str(path_of(row)) in told
