"""Random changes of a batch, made on its device."""
