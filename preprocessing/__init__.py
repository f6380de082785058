"""A cohort on disk becomes a store of bias-corrected tensors. Knows images; knows neither networks nor Ray."""
