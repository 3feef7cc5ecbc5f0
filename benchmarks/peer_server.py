"""What people write first: `transformers.pipeline` behind FastAPI. The peer of `benchmarks.serve`.

python -m benchmarks.peer_server MODEL PORT [BATCH]
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Question(BaseModel):
    """One text or several."""

    text: str | None = None
    texts: list[str] = []


def build(model: str, *, batch: int) -> FastAPI:
    """The application; `batch`: the pipeline's batch size."""
    from transformers import pipeline

    classify = pipeline("text-classification", model=model, device="cpu", top_k=None, truncation=True)
    app = FastAPI()

    @app.post("/v1/predict")
    def predict(question: Question) -> list[Any]:
        """All classes of each text with their probabilities."""
        texts = question.texts if question.text is None else [question.text]
        return list(classify(texts, batch_size=batch))

    @app.get("/readyz")
    def ready() -> str:
        """The model is loaded."""
        return "ready"

    return app


def main(words: list[str]) -> None:
    """Serve until a signal comes."""
    model, port, *rest = words
    app = build(model, batch=int(rest[0]) if rest else 1)
    uvicorn.run(app, host="127.0.0.1", port=int(port), access_log=False, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1:])
