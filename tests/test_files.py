"""Files and directories are whole or absent, also when writing them fails midway."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipelines.files import built_once, digest, new_directory, read_json, sha256, write_json, write_text
from tests.faults import shows


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def fail(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 100_000)
    assert sha256(tmp_path / "file") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_digest_knows_where_each_part_ends() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a", "") != digest("a")
    assert digest("ä\ud800") == digest("ä\ud800")


def test_text_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    for text in ("one", "zwei ü 🙂\n"):
        write_text(tmp_path / "file.txt", text)
        assert (tmp_path / "file.txt").read_bytes() == text.encode()
    assert names(tmp_path) == ["file.txt"]


def test_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "file.txt", "old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "file.txt", "new")
    assert (tmp_path / "file.txt").read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_content_is_on_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("flush"), fsync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (events.append("rename"), replace(self, target))[1])
    write_text(tmp_path / "file.txt", "text")
    assert events == ["flush", "rename", "flush"]  # the file, then the directory that names it


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [1.0, float("-inf")]}])
def test_json_refuses_what_json_cannot_say(value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        write_json(tmp_path / "file.json", value)
    assert names(tmp_path) == []


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    value = {"name": "größer 🙂", "values": [1, 2.5, None, True], "deep": {"a": {}}}
    write_json(tmp_path / "file.json", value)
    assert read_json(tmp_path / "file.json") == value
    assert json.loads((tmp_path / "file.json").read_text(encoding="utf-8")) == value


def test_absent_json_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "absent.json") is None


def test_directory_appears_whole(tmp_path: Path) -> None:
    with new_directory(tmp_path / "deep" / "new") as beside:
        (beside / "a.txt").write_text("a")
        (beside / "sub").mkdir()
        (beside / "sub" / "b.txt").write_text("b")
        assert not (tmp_path / "deep" / "new").exists()
    assert names(tmp_path / "deep") == ["new"]
    assert names(tmp_path / "deep" / "new") == ["a.txt", "sub"]


def test_directory_replaces_what_stood_there(tmp_path: Path) -> None:
    for name in ("old.txt", "new.txt"):
        with new_directory(tmp_path / "place") as beside:
            (beside / name).write_text(name)
    assert names(tmp_path) == ["place"]
    assert names(tmp_path / "place") == ["new.txt"]


def test_directory_does_not_appear_when_its_block_fails(tmp_path: Path) -> None:
    with new_directory(tmp_path / "place") as beside:
        (beside / "old.txt").write_text("old")

    def write_half() -> None:
        with new_directory(tmp_path / "place") as beside:
            (beside / "new.txt").write_text("half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        write_half()
    assert names(tmp_path) == ["place"]
    assert names(tmp_path / "place") == ["old.txt"]


@shows("disk full", "D")
def test_directory_does_not_appear_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"), new_directory(tmp_path / "place") as beside:
        (beside / "file.txt").write_text("text")
    assert names(tmp_path) == []


def test_every_file_is_on_disk_before_the_directory_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def flushed(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name.partition(".")[0] or "beside")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "rename", lambda self, target: (events.append("rename"), rename(self, target))[1])
    with new_directory(tmp_path / "place") as beside:
        (beside / "one.txt").write_text("1")
        (beside / "two.txt").write_text("2")
    assert sorted(events[:2]) == ["one", "two"]
    assert events[2:] == ["beside", "rename", tmp_path.name]


def test_what_a_crash_left_of_something_half_built_is_removed_by_the_next_builder(tmp_path: Path) -> None:
    for leftover in (tmp_path / ".place.0a1b2c3d.tmp", tmp_path / ".elsewhere.0a1b2c3d.tmp"):
        leftover.mkdir()
        (leftover / "half").write_text("h")
    (tmp_path / ".place.4e5f6a7b.tmp").write_text("half")

    def write(place: Path) -> None:
        with new_directory(place) as beside:
            (beside / "whole").write_text("whole")

    assert built_once(tmp_path / "place", read=lambda place: place.exists() or None, write=write)
    assert names(tmp_path) == [".elsewhere.0a1b2c3d.tmp", "place", "place.lock"]
