"""Which DICOM series are the phases of an examination.

==================  ================================================================================
``examination.py``  folders of DICOM files to ordered phases
``evidence.py``     what headers say of a series; series that may be phases
``selection.py``    one examination, one protocol, each series once
``order.py``        the order of the phases in time
``decide.py``       the decision; missing and rival phases
``table.py``        a table of phases that people can correct
==================  ================================================================================
"""
