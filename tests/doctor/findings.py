"""What the doctor must find, and what becomes of it."""

from pathlib import Path

from pipelines.files import sha256, write_json
from tests.patients import Found, Patient, tuples

BEST, FAILED, PRUNED, OTHER = range(4)


def a_checkpoint(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "model.safetensors").write_text("weights")
    files = {"model.safetensors": {"bytes": 7, "sha256": sha256(directory / "model.safetensors")}}
    write_json(directory / "manifest.json", {"files": files})


def assert_mended(patient: Patient, found: Found, *said: str) -> None:
    """Just this is found, `--fix` says just these things that it did, and then all is well."""
    assert patient.found() == found
    done, after = patient.treated()
    assert done == [f"study toy: {line}: done" for line in said]
    assert after.findings == []


def assert_advised(patient: Patient, found: Found, *advice: str) -> None:
    """Just this is found, `--fix` does nothing about it, and the findings say what a person can do."""
    done, after = patient.treated()
    assert done == []
    assert tuples(after) == found
    assert [one.how for one in after.findings] == [*advice]


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
