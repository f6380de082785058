"""Compare two reports: which runs are better, and which settings differ.

======================  ================================================
``compare_results.py``  Results of a comparison of two reports
``compare_runs.py``     Compare the runs of two reports
``report_folder.py``    Read a report folder, and how its runs were made
``write.py``            Write a comparison as HTML and JSON
======================  ================================================
"""
