"""Tasks: one kind of data with the model, the loss and the measures that go with it."""
