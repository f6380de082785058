"""DICOM: files, headers, pixels and series.

===================  ===============================================================================
``file.py``          the elements of one file; plain files without pydicom
``frames.py``        the elements of each frame of a multi-frame file
``header.py``        the header of each slice of a file
``slice_header.py``  the value that holds it
``pixels.py``        stored pixel values, raw and compressed
``segmentation.py``  DICOM SEG
``series.py``        slices arranged as a volume, with intensities on one scale
``series_parts.py``  a series taken apart into volumes
``series_words.py``  what a series' name and ImageType say
===================  ===============================================================================
"""
