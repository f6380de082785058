"""Cohorts: their values, and one reader for each layout on disk.

==================  ================================================================================
``cohort.py``       patients, phases, boxes, labels and findings
``read_cohort.py``  the list of layouts; a new layout is a file here and a line there
``duke.py``         Duke-Breast-Cancer-MRI as TCIA ships it, with its workbooks and file mapping
``mama_mia.py``     MAMA-MIA
``manifest.py``     any other cohort, as one table
``tables.py``       one way to read a table: CSV as any program writes it, or Excel
``options.py``      columns and labels that the user names
``labels.py``       how tables write the status of a receptor
``values.py``       how tables write numbers and missing values
==================  ================================================================================
"""
