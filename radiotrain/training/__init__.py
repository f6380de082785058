"""Store to trained network: the loop, its losses, its checkpoints, its debugger."""
