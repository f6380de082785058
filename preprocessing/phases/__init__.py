"""Which DICOM series are the phases of an examination.

=================  ==============================================================================
``words.py``       what a series' name and ImageType say
``parts.py``       a series taken apart into volumes
``evidence.py``    what headers say of a series
``candidates.py``  which series may be phases
``selection.py``   one examination, one protocol, each series once
``order.py``       which came first
``missing.py``     what is missing, and what else may be a phase
``decide.py``      the decision, from all of these
``table.py``       a table of phases that people can correct
=================  ==============================================================================
"""
