"""Pretrained checkpoints side by side on a user's texts, before any of them is fine-tuned."""
