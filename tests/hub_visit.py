"""Run in a process of its own, since Hugging Face's client reads its settings once: loads what it is told to.

Standard input is a JSON list of [name, revision]; the answer is one JSON list of what became of each.
"""

import json
import sys
from typing import Any


def visit(name: str, revision: str | None) -> dict[str, Any]:
    """Digest and licence of a checkpoint, or the message with which it is refused."""
    from pipelines.config import ModelConfig
    from pipelines.errors import UserError
    from pipelines.models import load_pretrained
    from pipelines.screening.licence import stated_license

    model = ModelConfig(name=name, revision=revision)
    try:
        pretrained = load_pretrained(model, labels=("negative", "positive"))
    except UserError as error:
        return {"refused": str(error), "code": error.exit_code}
    pad = (pretrained.config.pad_token_id, pretrained.tokenizer.padding_side)
    return {"digests": pretrained.digests, "pad": pad, "license": stated_license(model)}


if __name__ == "__main__":
    print(json.dumps([visit(*one) for one in json.load(sys.stdin)]))
