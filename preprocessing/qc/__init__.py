"""HTML pages that show the content of a store, patient by patient.

===================  ===============================================================================
``pages.py``         all pages of a store
``folder.py``        the folder, and names of files in it
``study.py``         one patient measured and drawn, in a process of its own
``reading.py``       a patient's voxels, or what is wrong with them
``measures.py``      planes, bias field, enhancement and other measures
``outliers.py``      patients that differ from the others
``pictures.py``      PNG pictures: windows, sheets
``patient_page.py``  a patient's page: panels and enhancement curves
``cohort_page.py``   the cohort's page and its plots
===================  ===============================================================================

`pages.write_pages` makes a folder of HTML files and PNG pictures that needs no server and no network.
A patient's voxels are read once (`study`); outliers are known when all patients were read; then the
pages are written.
"""
