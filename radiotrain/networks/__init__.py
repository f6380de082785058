"""The networks, by the names papers use."""
