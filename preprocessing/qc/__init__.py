"""Pages to look at, that show whether the store holds of each patient what it should.

`pages.write_pages` makes a folder of HTML files and PNG pictures that needs no server, no
network and nothing else. A patient's voxels are looked at once (`study`), in processes of their
own; what is odd is known when all were looked at (`outliers`); then the pages are written.

===================  =============================================================================
``pages.py``         all pages of a store; `folder.py` the folder, `names.py` the names of files
                     in it
``study.py``         one patient looked at: measured, drawn, reduced to what pages need
``reading.py``       the patient's voxels, or what is wrong with them
``measures.py``      what is measured, so that the unlike are found; `enhancement.py` how contrast
                     is taken up
``field.py``         the bias field that was divided out
``outliers.py``      who is unlike the others; `entries.py` puts them first
``pictures.py``      a patient's pictures; `planes.py` through which point, `windows.py` from
                     black to white
``sheet.py``         many pictures in one PNG; `panels.py` which part of it a page shows
``patient_page.py``  one patient's page; `curve_plot.py` the curves on it
``cohort_page.py``   the cohort's page; `cohort_plots.py` the plots on it
``templating.py``    how templates write labels and numbers
===================  =============================================================================
"""
