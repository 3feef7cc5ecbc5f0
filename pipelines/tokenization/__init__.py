"""Tokenizers side by side on a user's texts: what they cost, what they lose, and how long their input should be."""
