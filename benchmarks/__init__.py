"""Programs that print a table of ratios; ``python -m benchmarks.NAME``. Not tests."""
