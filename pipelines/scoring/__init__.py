"""Whole files of texts, scored row by row by a registered model: streamed, resumable, whole or absent."""
