"""Two small models, one of them bad."""

from pathlib import Path

import numpy as np
import pytest

from tests.serving import LABELS


@pytest.fixture(scope="module")
def models(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two small models with golden predictions, of which `bad` does not give them."""
    from pipelines.config import ModelConfig, TokensConfig
    from pipelines.export import export_model, read_facts, seal
    from pipelines.files import read_json, write_json, write_text
    from pipelines.golden import write_golden
    from pipelines.hpo_classifier import Classifier
    from pipelines.models import load_pretrained, new_classifier

    home = tmp_path_factory.mktemp("models")
    for number, name in enumerate(("sound", "bad"), start=1):
        pretrained = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=LABELS)
        network = new_classifier(pretrained, dropout=None, seed=number).eval()
        directory = home / name / "model"
        export_model(network, pretrained.tokenizer, directory, labels=LABELS, tokens=TokensConfig(max_length=12))
        write_golden(Classifier(directory, device="cpu"), directory)
        write_text(directory / "README.md", "---\ntags: []\n---\n\n# The card\n")
        if name == "bad":
            golden = read_json(directory / "golden.json")
            golden["probabilities"] = (1 - np.array(golden["probabilities"])).tolist()
            write_json(directory / "golden.json", golden)
        seal(directory, read_facts(directory))
    return {name: home / name / "model" for name in ("sound", "bad")}
