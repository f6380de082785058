"""A table of predictions becomes numbers, plots and a report. Imports neither torch nor the store."""
