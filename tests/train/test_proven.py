"""No setting without a test that proves its arrival."""

from pipelines.config import RunConfig, flatten

from . import test_jobs, test_optimizer, test_steps  # noqa: F401 - where they are imported they enter what they prove
from .trained import PROVEN


def test_every_setting_is_proven_to_arrive() -> None:
    addresses = {address for address in flatten(RunConfig().model_dump()) if not address.startswith("data.")}
    assert addresses == PROVEN
