"""A registered model behind HTTP: checked requests, answers in batches, and a new champion without a failed request."""
