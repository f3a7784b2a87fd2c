"""The kind `forecast`: task, data, model."""
