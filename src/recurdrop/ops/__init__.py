"""Recurrences as pure functions of tensors; no method, no random number, no module."""
