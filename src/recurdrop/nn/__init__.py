"""The layers: they own torch's parameters and join methods, masks and ops."""
