"""Models that are made, not found: a tokenizer trained on the data, and a small BERT of random weights with it."""
