"""A digital reference cohort with known truth, written as TCIA ships Duke-Breast-Cancer-MRI.

===================  =============================================================================
``settings.py``      what a cohort is made with
``write.py``         the road: patients one by one, then workbooks, truth last; `marker.py` claims
                     the folder
``patient.py``       one patient, drawn from the seed; `labels.py` receptors, `scanner.py` the
                     protocol
``anatomy.py``       breasts as functions of position; `texture.py` what makes them irregular
``tumour.py``        its form, rim and enhancement
``geometry.py``      where voxels lie
``signal.py``        coil field, noise, motion, integers
``dicom_writer.py``  DICOM files; `file_names.py` what they are called
``workbooks.py``     the two workbooks
``truth.py``         what no scanner tells
``quirks/``          what goes wrong in real downloads, on demand
===================  =============================================================================
"""
