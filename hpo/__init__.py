"""The study engine: searches hyperparameters of fine-tuning runs, keeps the record, and promotes the winner."""
