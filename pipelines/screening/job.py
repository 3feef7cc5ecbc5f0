"""Screening as a task of a worker."""

from pipelines.data import open_dataset
from pipelines.screening.comparison import Screening, compare
from pipelines.segment import ScreenJob, Watch


def screen(job: ScreenJob, *, watch: Watch) -> Screening:
    """Compare the job's checkpoints; tells the number of each, as `screening`. Raises what `compare` does."""
    numbers = iter(range(1, len(job.configs) + 1))
    return compare(
        job.configs,
        open_dataset(job.data),
        cache=job.cache,
        keep=job.keep,
        rows=job.rows,
        seed=job.seed,
        say=lambda _: watch.tell({"screening": float(next(numbers))}),
    )
