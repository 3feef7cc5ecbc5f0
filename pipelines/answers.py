"""What a stored model says about each row of a split."""

from pipelines.config import SplitName
from pipelines.data import Dataset
from pipelines.errors import ModelError
from pipelines.hpo_classifier import Classifier
from pipelines.predictions import Predictions
from pipelines.segment import Watch


def answers(classifier: Classifier, dataset: Dataset, split: SplitName, *, watch: Watch) -> Predictions:
    """The model's probabilities and decisions, with the classes in the order of the data.

    Raises `ModelError` when the model does not know exactly the classes of the data.
    """
    if set(classifier.labels) != set(dataset.labels):
        raise ModelError(
            f"{classifier.directory}: knows the classes {classifier.labels}, the data has {dataset.labels}"
        )
    rows, order = dataset.splits[split], [classifier.labels.index(label) for label in dataset.labels]
    probabilities = classifier.probabilities(rows.texts, each=lambda: watch.tell({}))  # signs of life
    thresholds = classifier.thresholds
    return Predictions(
        ids=rows.ids,
        texts=rows.texts,
        labels=rows.labels,
        probabilities=probabilities[:, order],
        names=dataset.labels,
        thresholds=thresholds and tuple(thresholds[index] for index in order),
    )
