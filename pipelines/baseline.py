"""What a fine-tuned model must beat: the most frequent class, and logistic regression over words.

Both learn in seconds on one core. They see the same rows as the trials, and their predictions are kept like those of a
trial, so that they are compared row by row.
"""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Dataset, open_dataset
from pipelines.files import read_json, write_json
from pipelines.predictions import Predictions
from pipelines.report import write_report
from pipelines.scores import score
from pipelines.segment import BaselineJob, SegmentResult, Watch


def train_baseline(job: BaselineJob, *, watch: Watch) -> SegmentResult:
    """Fit one baseline on the train split and score it on the select split; `result.json` says that it is done.

    Idempotent: what lies on disk already is returned.
    """
    if (finished := read_json(job.directory / "result.json")) is not None:
        return SegmentResult(**finished)
    start, dataset = time.perf_counter(), open_dataset(job.data)
    split = dataset.splits["select"]
    probabilities = BASELINES[job.name](dataset, split.texts)
    trained = time.perf_counter()
    predictions = Predictions(split.ids, split.texts, split.labels, probabilities, dataset.labels)
    scores = score(predictions)
    write_report(predictions, job.directory / "artifacts")
    rows = len(dataset.splits["train"])
    seconds = {"train": trained - start, "evaluate": time.perf_counter() - trained}
    result = SegmentResult(step=1, examples=rows, total_steps=1, scores=scores, finished=True, seconds=seconds)
    write_json(job.directory / "result.json", vars(result))
    return result


def majority(dataset: Dataset, texts: Sequence[str]) -> NDArray[np.float64]:
    """The shares of the classes in training, for every text: it always answers with the most frequent one."""
    shares = np.bincount(dataset.splits["train"].labels, minlength=len(dataset.labels)) / len(dataset.splits["train"])
    return np.tile(shares, (len(texts), 1))


def words(dataset: Dataset, texts: Sequence[str]) -> NDArray[np.float64]:
    """Logistic regression over TF-IDF of words and punctuation marks; what a search must be worth against.

    Fixed settings, so that it needs no search of its own: sublinear term frequencies, inverse regularization 10.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[^\w\s]"),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    train = dataset.splits["train"]
    model.fit(list(train.texts), train.labels)
    found = np.zeros((len(texts), len(dataset.labels)))
    found[:, model.classes_] = model.predict_proba(list(texts))
    return found


BASELINES = {"majority": majority, "tfidf": words}
"""What a baseline that has learned from the train split says of texts, (texts, classes), by its name."""
