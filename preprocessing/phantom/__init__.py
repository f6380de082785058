"""A digital reference cohort with known truth, written as TCIA ships Duke-Breast-Cancer-MRI.

=====================  =============================================================================
``settings.py``        settings of a cohort
``write.py``           patients one by one, then workbooks, truth last
``patient.py``         one patient, drawn from the seed, with its receptors
``scanner.py``         scanner and protocol
``voxels.py``          where voxels lie
``anatomy.py``         breasts, texture and tumour as functions of position
``signal.py``          coil field, noise, motion, integers
``dicom_writer.py``    DICOM files and their names
``workbooks.py``       the workbooks and the table of file paths
``truth.py``           what no scanner measures
``quirks.py``          names of the errors that real downloads have
``quirk_patients.py``  errors made in the patient before its files are written
``quirk_files.py``     errors made in the files
=====================  =============================================================================
"""
