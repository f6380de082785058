"""What trained models say of patients whom no store has: images in, page, JSON and DICOM SR out.

=========================  ======================================================================
``trained_model.py``       all that predicting takes, whatever it was read from
``run_model.py``           … from a run or a promoted model
``exported_model.py``      … from an export of format safetensors
``open_model.py``          … from whichever of them lies at an address
``operating_point.py``     the threshold, and what it did on patients whose status is known
``patient_folder.py``      a folder of DICOM, or of one file a phase, as a patient of a cohort
``identity.py``            whether a folder's images, and the segmentation, are of one person
``prepare.py``             the tensor that ``radiotrain preprocess`` would have stored
``dicom_source.py``        what the images say of themselves, for the SR
``out_of_range.py``        in what the images are unlike those of the training patients
``probability.py``         the networks' answers, their spread, and the call
``attention.py``           where the networks look
``answer.py``              all that is said of a patient; JSON
``page.py``                the page; `pictures.py` the pictures on it
``structured_report.py``   the DICOM SR
``examine.py``             the road from one patient to their files
``many.py``                several patients, one after the other; `summary.py` their table
=========================  ======================================================================

Research use only: nothing here is made for decisions about a patient's care.
"""

RESEARCH_USE = "Research use only. Not a medical device, not for clinical decisions."
