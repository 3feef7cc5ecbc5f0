"""One request to a server with a made-up model."""

from typing import Any

from tests.serving import a_client

PREDICT = "/v1/predict"
JSON = {"Content-Type": "application/json"}


def ask(body: bytes | str, **how: Any) -> Any:
    content = body.encode() if isinstance(body, str) else body
    return a_client().post(PREDICT, content=content, headers=how.pop("headers", JSON), **how)
