"""A finished model on texts that are not its own: other data sets, changed texts, and sentences with a known answer."""
