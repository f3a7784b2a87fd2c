"""The kind `trigger`: task, data, model."""
