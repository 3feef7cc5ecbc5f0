"""A trial replayed: bit for bit the same, or told where it is not; and the trial itself is left alone."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import hpo.rerun
from hpo.cli import app
from hpo.executors.local import LocalExecutor
from hpo.likeness import Check, Difference, first_difference
from hpo.places import Places
from hpo.rerun import Original, Rerun, find_original, look, replay
from pipelines.config import flatten
from pipelines.data import load_data, save_dataset
from pipelines.errors import ConfigError, DataError
from pipelines.files import sha256
from pipelines.journal import Record, read_journal
from pipelines.notes import add_note
from pipelines.provenance import Session, read_provenance
from pipelines.segment import SegmentJob
from tests import tiny

TRAIN = "pipelines.run:train_segment"


@pytest.fixture(scope="module")
def job(tiny_bert: Path, executor: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> SegmentJob:
    """A trial with dropout that was trained to its end, in two segments, on rows of a file."""
    home, draw = tmp_path_factory.mktemp("trained"), random.Random(3)
    rows = [f'"{tiny.sentence(label, draw)}, {n}",{label}' for n in range(60) for label in ("negative", "positive")]
    (home / "rows.csv").write_text("\n".join(["text,label", *rows]))
    changes = {"data.source": str(home / "rows.csv"), "model.dropout": 0.1, "train.batch_size": 8}
    job = tiny.job(tiny_bert, home / "data", home, **changes)
    save_dataset(load_data(job.config.data), job.data)
    for until in (4, job.until):
        executor.submit(TRAIN, replace(job, until=until), key=job.trial).result()
    return job


@pytest.fixture
def original(job: SegmentJob, tmp_path: Path) -> Original:
    """The trial, as a copy that may be spoilt."""
    shutil.copytree(job.directory, tmp_path / "trial")
    provenance = read_provenance(job.directory)
    assert provenance is not None
    return Original(
        study="toy",
        number=0,
        state="COMPLETE",
        directory=tmp_path / "trial",
        data=job.data,
        cache=job.cache,
        provenance=provenance,
        params=json.loads(json.dumps(flatten(job.config.model_dump()))),
        journal=tuple(read_journal(job.directory / "progress.jsonl")),
    )


def changed(journal: tuple[Record, ...], index: int, **values: float) -> tuple[Record, ...]:
    record = journal[index] | {"values": journal[index]["values"] | values}
    return (*journal[:index], record, *journal[index + 1 :])


def everything(directory: Path) -> dict[Path, str]:
    return {file: sha256(file) for file in directory.rglob("*") if file.is_file()}


def test_a_replay_in_another_process_is_bit_equal_and_leaves_the_trial_alone(
    original: Original, executor: LocalExecutor, tmp_path: Path
) -> None:
    weights = sha256(original.directory / "model" / "model.safetensors")
    (original.directory / "model" / "model.safetensors").write_bytes(b"calibrated since")
    before = everything(original.directory)
    found = replay(original, executor, scratch=tmp_path / "scratch")
    last, records = original.last, len(original.journal)
    assert original.ends == [4, last]
    assert (found.bit_equal, found.first, found.equal, found.remarks) == (True, None, records, ())
    assert found.verdict() == f"bit-equal: all {records} records up to step {last} are equal, and the weights"
    assert found.weights.was == weights == found.weights.now
    assert everything(original.directory) == before


def test_a_changed_value_of_the_journal_is_named_with_its_step_and_changed_weights_too(
    original: Original, executor: LocalExecutor, tmp_path: Path
) -> None:
    loss = original.journal[2]["values"]["loss"]
    other = replace(original.provenance, weights="a" * 64)
    spoilt = replace(original, journal=changed(original.journal, 2, loss=loss + 1e-9), provenance=other)
    found = replay(spoilt, executor, scratch=tmp_path / "scratch")
    assert not found.bit_equal
    assert found.first == Difference("step", 3, "loss", loss + 1e-9, loss)
    assert found.equal == 2
    assert found.weights.same is False
    said = f"differs: at step 3 loss was {loss + 1e-9!r}, is {loss!r} (-1.0e-09); the 2 records before that are equal"
    assert found.verdict() == said


def test_a_trial_that_was_pruned_is_replayed_up_to_where_it_came(
    original: Original, executor: LocalExecutor, tmp_path: Path
) -> None:
    shutil.rmtree(original.directory / "model")
    journal = tuple(record for record in original.journal if record["step"] <= 5)
    pruned = replace(original, journal=journal, state="PRUNED", provenance=replace(original.provenance, weights=None))
    assert pruned.ends == [4, 5]
    found = replay(pruned, executor, scratch=tmp_path / "scratch")
    assert found.bit_equal
    said = "bit-equal: all 6 records up to step 5 are equal; no weights are kept of a trial that is PRUNED"
    assert found.verdict() == said


def test_all_that_a_training_depends_on_is_looked_at(original: Original, executor: LocalExecutor) -> None:
    recorded = {address: value for address, value in original.params.items() if address != "tokens.lowercase"}
    checks = look(replace(original, params=recorded), executor)  # as from before there was that setting
    assert {one.name for one in checks if not one.same} == set()
    names = [one.name for one in checks]
    assert names[:3] == ["data", "source", "settings"]
    named = {"package", "training code", "tokenizer", "pretrained weights", "seed", "split seed", "threads"}
    assert named | {"precision", "device", "python", "torch", "transformers", "numpy"} <= {*names}
    assert next(one.now for one in checks if one.name == "threads") == "1"


def test_what_has_changed_since_is_told(original: Original, executor: LocalExecutor, tmp_path: Path) -> None:
    (first,) = original.provenance.sessions
    then = Session(0, first.facts | {"torch": "1.0", "pretrained weights": "a" * 64})
    config = original.provenance.config
    gone = config.model_copy(update={"data": config.data.model_copy(update={"source": str(tmp_path / "gone.csv")})})
    provenance = replace(original.provenance, config=gone, sessions=(then,))
    told = {
        one.name: one.in_words()
        for one in look(replace(original, provenance=provenance, params=original.params | {"seed": 7}), executor)
        if not one.same
    }
    assert told.keys() == {"torch", "pretrained weights", "source", "settings", "seed"}
    assert told["torch"] == f"torch: was 1.0, is {first.facts['torch']}"
    assert told["pretrained weights"].startswith("pretrained weights: was aaaaaaaaaaaa, is ")
    assert told["seed"] == "seed: was 0, is 7"
    assert told["source"].startswith(f"source: was {first.facts['data'][:12]}, is not readable: ")


def test_a_study_with_other_rows_is_refused(original: Original, executor: LocalExecutor, tmp_path: Path) -> None:
    save_dataset(tiny.dataset(), tmp_path / "other")
    with pytest.raises(DataError, match=f"toy/0: {tmp_path}/other holds other rows than it was trained on"):
        look(replace(original, data=tmp_path / "other"), executor)


def test_what_befell_a_trial_on_the_way_is_told(
    original: Original, executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hpo.rerun, "_train", lambda *_: "diverged: the loss is not finite at step 9")
    add_note(original.directory, "diverged at step 9, in bf16; from its last checkpoint on in fp32", precision="fp32")
    (first,) = original.provenance.sessions
    later = Session(4, first.facts | {"threads": "2"})
    spoilt = replace(original, provenance=replace(original.provenance, sessions=(first, later)))
    found = replay(spoilt, executor, scratch=tmp_path / "scratch")
    assert found.remarks == (
        "it went on from step 4 with something else: threads: was 1, is 2",
        "on the way: diverged at step 9, in bf16; from its last checkpoint on in fp32",
        "it fell back to fp32 on the way, which a replay does from its own beginning",
        "the replay ended: diverged: the loss is not finite at step 9",
    )
    assert found.first is not None
    assert found.first.now is None


def test_journals_are_compared_bit_for_bit() -> None:
    was = [
        {"kind": "step", "step": 1, "values": {"loss": 0.3}},
        {"kind": "evaluation", "step": 1, "values": {"accuracy": 0.5}},
        {"kind": "step", "step": 2, "values": {"loss": 0.2}},
    ]
    more = {"kind": "evaluation", "step": 2, "values": {"accuracy": 0.9}}
    assert first_difference(was, [*was, more]) == (None, 3)
    other = [*was[:2], {"kind": "step", "step": 2, "values": {"loss": 0.2 + 1e-16}}]
    assert first_difference(was, other) == (Difference("step", 2, "loss", 0.2, 0.2 + 1e-16), 2)
    assert first_difference(was, [was[0], was[2]]) == (Difference("evaluation", 1, "accuracy", 0.5, None), 1)
    grown = [{"kind": "step", "step": 1, "values": {"loss": 0.3, "grad_norm": 1.0}}, *was[1:]]
    assert first_difference(was, grown) == (Difference("step", 1, "grad_norm", None, 1.0), 0)


def test_a_difference_of_the_weights_alone_is_one() -> None:
    check = Check("weights at the end", "a", "b")
    found = Rerun("toy/0", "COMPLETE", (), (), last=9, records=11, equal=11, first=None, weights=check)
    assert not found.bit_equal
    assert found.verdict() == "differs: all 11 records up to step 9 are equal, but not the weights"


def test_what_cannot_be_replayed_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(tmp_path, "sqlite:///none.db", "sqlite:///none.db")
    with pytest.raises(ConfigError, match="toy: a trial is STUDY/NUMBER, for instance quickstart/0"):
        find_original("toy", places=places)
    monkeypatch.setattr(hpo.rerun, "one_trial", lambda *_: {"state": "PRUNED"})
    with pytest.raises(DataError, match="toy/3 is PRUNED and was never trained; there is nothing to replay"):
        find_original("toy/3", places=places)
    places.trial("toy", 3).mkdir(parents=True)
    line = {"kind": "step", "step": 1, "time": 0, "values": {"loss": 1.0}}
    (places.trial("toy", 3) / "progress.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(DataError, match=r"provenance.json is missing; it was trained before that was kept"):
        find_original("toy/3", places=places)


@pytest.mark.parametrize("same", [True, False])
def test_the_command_answers_with_5_when_something_differs(same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check("weights at the end", "a", "a" if same else "b")
    found = Rerun("toy/0", "COMPLETE", (), (), last=9, records=11, equal=11, first=None, weights=check)
    monkeypatch.setattr(hpo.rerun, "rerun", lambda *_, **__: found)
    plain: Any = CliRunner().invoke(app, ["rerun", "toy/0"])
    shown: Any = CliRunner().invoke(app, ["rerun", "toy/0", "--json"])
    assert plain.exit_code == shown.exit_code == (0 if same else 5)
    assert found.verdict() in plain.output
    assert json.loads(shown.output)["bit_equal"] is same
