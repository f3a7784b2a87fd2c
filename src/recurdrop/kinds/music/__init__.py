"""The kind `music`: task, data, model."""
