"""The kind `translate`: task, data, model."""
