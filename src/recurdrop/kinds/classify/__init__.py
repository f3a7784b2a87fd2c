"""The kind `classify`: task, data, model."""
