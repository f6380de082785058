"""Predict new patients with trained models: images in; page, JSON and DICOM SR out.

========================  ==========================================================================
``exported_model.py``     What ``radiotrain export --format safetensors`` wrote, as a model that
``model.py``              All that predicting a new patient takes, whatever the model was read from
``open_model.py``         Models by their addresses, whichever of the forms that models are kept in
``operating_point.py``    The threshold from which on a probability is called positive, and what it
``out_of_range.py``       In what a patient's images are unlike those that the networks were
``page.py``               The page of one patient: what its template is given, and how numbers are
``predict_many.py``       Several patients, one after the other: numbered folders, a table, and who
``predict_patient.py``    The road from one patient's images to the page, the JSON and the DICOM SR
``prediction.py``         All that is said of one patient, and the same as JSON; docs/predict.md
``prepare.py``            One new patient's tensor: what ``radiotrain preprocess`` would have
``probability.py``        The networks' answers about one patient: probability, spread, call
``run_model.py``          A run, or a model of ``radiotrain promote``, as a model that predicts new
``saliency.py``           Where a model looks in one patient's images: integrated gradients, as in
``structured_report.py``  The DICOM SR of a patient: a TID 1500 measurement report beside the
========================  ==========================================================================

Research use only: nothing here is made for decisions about a patient's care.
"""

RESEARCH_USE = "Research use only. Not a medical device, not for clinical decisions."
