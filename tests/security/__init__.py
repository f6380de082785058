"""What nobody should be able to read, to ask or to run."""
