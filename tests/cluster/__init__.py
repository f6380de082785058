"""Ray, sweeps on it, and the files that describe clusters."""
