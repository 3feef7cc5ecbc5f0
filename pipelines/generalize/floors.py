"""A candidate on other data sets, for the floors that it must reach there."""

from pipelines.config import DataConfig
from pipelines.data import open_dataset, text_hashes
from pipelines.generalize.answering import answers_on, ready
from pipelines.generalize.external import load_external, without
from pipelines.scores import score
from pipelines.segment import ElsewhereJob, Watch


def score_elsewhere(job: ElsewhereJob, *, watch: Watch) -> dict[str, dict[str, float]]:
    """Scores of a model on each data set, by its source, of the rows that its own data does not hold.

    Raises `DataError` for data that cannot be used, `ModelError` for a model that cannot.
    """
    classifier = ready(job.model)
    own = text_hashes(*open_dataset(job.data).splits.values())
    found = {}
    for source in job.sources:
        external = load_external(DataConfig(source=source), classifier.labels, told={})
        external = without(external, own, why="the model's own data holds them")
        found[source] = score(answers_on(classifier, external.dataset, cache=job.cache, watch=watch))
    return found
