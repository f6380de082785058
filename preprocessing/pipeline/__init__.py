"""From a cohort to a store.

======================  ============================================================================
``run.py``              all patients of a cohort, on a Dask cluster
``process_patient.py``  one patient, from files to int16 voxels and its record
``check_cohort.py``     which patients can be used
``draft_manifest.py``   a folder tree to a manifest that a person completes
======================  ============================================================================
"""
