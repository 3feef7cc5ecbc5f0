import os
import socket
from pathlib import Path

import pytest

from pipelines.config import DataConfig
from pipelines.data import load_data, reading
from pipelines.errors import ConfigError, DataError

from .rows import Refused, Write, pairs, table


def test_missing_file_is_refused_and_a_close_name_suggested(write: Write, refused: Refused) -> None:
    write("reviews.csv", table(pairs(20)))
    assert refused("./review.csv") == "./review.csv: no such file; did you mean 'reviews.csv'?"


def test_file_in_a_missing_directory_is_refused(write: Write, refused: Refused, tmp_path: Path) -> None:
    write("reviews.csv", table(pairs(20)))
    assert refused("nowhere/reviews.csv") == "nowhere/reviews.csv: no such file; the directory nowhere does not exist"


def test_directory_is_refused_with_what_it_holds(write: Write, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    write("folder/a.csv", table(pairs(20)))
    assert refused("./folder") == (
        "./folder: is a directory, and not one saved by `datasets` (`save_to_disk`); it holds a.csv; name one file, "
        "and the others as data.select, data.calibrate or data.test"
    )


def test_file_without_read_permission_is_refused(
    write: Write, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("reviews.csv", table(pairs(20)))

    def denied(self: Path, mode: str) -> None:  # root may read everything, so a mode of 000 would prove nothing
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert refused("reviews.csv") == (
        "reviews.csv: no permission to read it; run `chmod u+r reviews.csv` or ask its owner"
    )


def test_empty_file_is_refused(write: Write, refused: Refused) -> None:
    write("reviews.csv", b"")
    assert refused("reviews.csv") == (
        "reviews.csv: is empty; it needs a header such as text,label and one row per example"
    )


def test_file_over_two_gigabytes_is_refused(write: Write, refused: Refused) -> None:
    path = write("reviews.csv", table(pairs(20)))
    os.truncate(path, 2 * 1024**3 + 1)
    assert "reviews.csv: is 2.0 GB, over the limit of 2 GB" in refused("reviews.csv")


def test_dead_link_is_refused_with_its_target(write: Write, refused: Refused, tmp_path: Path) -> None:
    write("other.csv", table(pairs(20)))
    (tmp_path / "reviews.csv").symlink_to("gone.csv")
    assert refused("reviews.csv") == "reviews.csv: is a link to gone.csv, which does not exist; mend the link"


def test_loop_of_links_is_refused(write: Write, refused: Refused, tmp_path: Path) -> None:
    write("other.csv", table(pairs(20)))
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    assert refused("loop.csv").startswith("'loop.csv': is no usable file name (")


@pytest.mark.parametrize("name", ["a\0b.csv", "x" * 300 + ".csv"])
def test_impossible_file_name_is_refused(refused: Refused, name: str) -> None:
    assert refused(name).startswith(f"{name!r}: is no usable file name (")


def test_home_of_an_unknown_user_is_a_missing_file(refused: Refused) -> None:
    assert refused("~nobody-of-that-name/a.csv").startswith("~nobody-of-that-name/a.csv: no such file;")


def test_disk_that_fails_while_reading_is_told(write: Write, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    write("reviews.csv", table(pairs(20)))

    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pipelines.data.encoding.refuse_foreign", failing)
    assert refused("reviews.csv") == "reviews.csv: cannot be read to its end (Input/output error); check the disk"


def test_socket_is_refused(write: Write, refused: Refused) -> None:
    write("other.csv", table(pairs(20)))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("reviews.csv")
        assert refused("reviews.csv").startswith("reviews.csv: is a socket, not a regular file;")


def test_pipe_is_refused_without_waiting_for_a_writer(write: Write, refused: Refused, tmp_path: Path) -> None:
    write("other.csv", table(pairs(20)))
    os.mkfifo(tmp_path / "reviews.csv")
    assert refused("reviews.csv") == (
        "reviews.csv: is a pipe (FIFO), not a regular file; write its content to a file first"
    )


def test_device_is_refused(refused: Refused) -> None:
    assert refused("/dev/zero") == "/dev/zero: is a device, not a regular file; write its content to a file first"


@pytest.mark.parametrize("change", ["replaced", "written to", "deleted"])
def test_file_that_changes_while_it_is_read_is_refused(
    write: Write, refused: Refused, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = write("reviews.csv", table(pairs(20)))
    other = write("other.csv", table(pairs(30)))
    before = reading._refuse_size

    def changed_meanwhile(size: int, shown: str, *, limit: int | None) -> None:
        before(size, shown, limit=limit)
        if change == "replaced":
            other.replace(path)
        elif change == "deleted":
            path.unlink()
        else:
            path.write_text("text,label\n")

    monkeypatch.setattr(reading, "_refuse_size", changed_meanwhile)
    assert refused("reviews.csv") == (
        "reviews.csv: changed while it was being read; run again when nothing writes to it"
    )


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("a.txt", "rename it to .csv or .tsv if it is a table with a header, text and label"),
        ("a.json", "write one object per line and name it .jsonl"),
        ("a.csv.gz", "unpack it first, for instance with `gunzip`"),
        ("a.xlsx", "save the sheet as 'CSV UTF-8'"),
        ("a.data", "convert it to one of these, or rename it if it is one"),
    ],
)
def test_other_suffixes_are_refused_with_the_remedy(write: Write, refused: Refused, name: str, remedy: str) -> None:
    write(name, table(pairs(20)))
    assert refused(name) == f"{name}: the name must end in .csv, .tsv, .jsonl, .ndjson or .parquet; {remedy}"


def test_missing_own_file_of_a_split_is_refused(write: Write, refused: Refused) -> None:
    write("train.csv", table(pairs(20)))
    assert refused("train.csv", test="tset.csv").startswith("tset.csv: no such file")


def test_unknown_source_is_refused_with_a_suggestion(write: Write, refused: Refused) -> None:
    assert refused("imbd") == "imbd: is no file, sample, preset or hub id (OWNER/NAME); did you mean 'imdb'?"
    assert refused("sample:movie") == (
        "sample:movie: no such sample; did you mean 'movies'?; the samples are movies, amazon, tweets and editorials"
    )
    assert refused("movies") == "movies: no such file or preset; did you mean 'sample:movies'?"
    assert refused("https://example.org/a b").startswith(
        "https://example.org/a b: is no file, sample, preset or hub id"
    )


def test_hub_settings_with_a_file_are_a_contradiction(write: Write) -> None:
    write("reviews.csv", table(pairs(20)))
    with pytest.raises(ConfigError, match=r"^data\.revision applies to hub data sets only, not to reviews\.csv"):
        load_data(DataConfig(source="reviews.csv", revision="main"))


def test_existing_path_wins_over_a_preset_of_the_same_name(write: Write) -> None:
    write("imdb", table(pairs(20)))
    with pytest.raises(DataError, match=r"^imdb: the name must end in"):
        load_data(DataConfig(source="imdb"))


def test_home_directory_is_found(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("reviews.CSV", table(pairs(20)))
    monkeypatch.setenv("HOME", str(tmp_path))
    dataset = load_data(DataConfig(source="~/reviews.CSV"))
    assert (dataset.name, dataset.source) == ("reviews.CSV", str(tmp_path / "reviews.CSV"))
