"""The kind `temporal-order`: task, data, model."""
