"""A digital reference cohort with known truth, written as TCIA ships Duke-Breast-Cancer-MRI."""
