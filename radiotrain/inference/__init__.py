"""Predict new patients with trained models: images in; page, JSON and DICOM SR out.

========================  ==============================================================
``exported_model.py``     Model for inference from an export
``model.py``              Model for inference, whatever it was read from
``open_model.py``         Open a model by its address
``operating_point.py``    Decision threshold, and its known sensitivity and specificity
``out_of_range.py``       Differences between a patient's images and the training images
``page.py``               HTML page of one patient
``predict_many.py``       Predict several patients
``predict_patient.py``    Predict one patient and write page, JSON and DICOM SR
``prediction.py``         Prediction of one patient, and its JSON (docs/predict.md)
``prepare.py``            Read one patient's images and make the tensor of the store
``probability.py``        Probabilities of one patient, their spread and classification
``run_model.py``          Model for inference from a run or a promoted model
``saliency.py``           Saliency map and pictures of one patient
``structured_report.py``  DICOM SR of a patient: TID 1500 measurement report
========================  ==============================================================

Research use only: nothing here is made for decisions about a patient's care.
"""

RESEARCH_USE = "Research use only. Not a medical device, not for clinical decisions."
