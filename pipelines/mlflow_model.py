"""What `mlflow.pyfunc.load_model` runs: a thin shell around the classifier file that lies beside it.

MLflow executes this file from inside the registered model ("models from code"); nothing of it is pickled.
"""

from typing import Any

import mlflow
import pandas as pd


class TextClassifier(mlflow.pyfunc.PythonModel):
    """Texts in; a table with label, probability, and the probability of every class out."""

    def load_context(self, context: Any) -> None:
        """Load the Hugging Face directory that is packed into the model."""
        # Found only inside the packed model, where MLflow puts this file's companion on the path.
        from hpo_classifier import Classifier

        self.classifier = Classifier(context.artifacts["model"])

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Classify a list of texts, or a table whose column is `text` (or its only one).

        No type hints here: MLflow would take them for a schema.
        """
        if isinstance(model_input, pd.DataFrame):
            column = "text" if "text" in model_input.columns else model_input.columns[0]
            model_input = model_input[column].tolist()
        elif isinstance(model_input, dict):
            model_input = model_input["text"]
        elif isinstance(model_input, str):
            model_input = [model_input]
        return as_table(self.classifier, [str(text) for text in model_input])


def as_table(classifier: Any, texts: list[str]) -> pd.DataFrame:
    """One row a text."""
    probabilities = classifier.probabilities(texts)
    best = classifier.predicted(probabilities)
    table = pd.DataFrame(
        {
            "label": [classifier.labels[index] for index in best],
            "probability": [row[index] for row, index in zip(probabilities, best, strict=True)],
        }
    )
    for index, label in enumerate(classifier.labels):
        table[f"p.{label}"] = probabilities[:, index]
    return table


mlflow.models.set_model(TextClassifier())
