"""The kind `language`: task, data, model."""
