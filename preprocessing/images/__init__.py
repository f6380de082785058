"""A patient's images: opened, aligned, corrected, cropped and checked.

===================  ===============================================================================
``load_patient.py``  all of a patient's phases and its tumour, opened but not read
``volumes.py``       what every volume can do; errors that become a finding
``volume_files.py``  NIfTI, NRRD, MetaImage and masks as volumes
``nifti.py``         NIfTI headers and placement
``itk.py``           NRRD and MetaImage: headers, and voxels read by ITK
``geometry.py``      voxels and patient coordinates; the common orientation
``alignment.py``     phases on the pre-contrast's voxels
``tumour_mask.py``   the tumour in a mask: place and components
``clipping.py``      intensity limits: voxels that are no tissue
``bias.py``          one bias field for each patient
``n4.py``            N4 with a separable B-spline fit
``n4_simpleitk.py``  N4 by SimpleITK, the reference
``crop.py``          the region around the tumour, sampled from the images
``motion.py``        phases registered to the pre-contrast
``plausibility.py``  physical checks of the cropped phases
===================  ===============================================================================

`dicom` reads DICOM files, `phases` decides which series are the phases.
"""
