"""The kind `speech`: task, data, model."""
