"""Compare two reports: which runs are better, and which settings differ.

======================  ============================================================================
``compare_results.py``  What a comparison of two reports finds, as frozen values
``compare_runs.py``     Each run of one report with each of another, corrected for how many there
``report_folder.py``    A report as another command reads it: its predictions, and how they were
``write.py``            The comparison as one HTML file that needs nothing else, and as JSON
======================  ============================================================================
"""
