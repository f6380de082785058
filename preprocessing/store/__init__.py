"""The store: one chunk of int16 voxels a patient, in Zarr v3, on a folder or S3.

Axis legend: N patients, P phases, R rows, C columns, S slices, T targets.

====================  =======================  ==========================================
``images``            int16 (N, P, R, C, S)    voxel value = int16 × scale of its patient
``scale``             float32 (N,)             same intensity unit for all phases of a patient
``region``            uint8 (N, R, C, S)       bit 0 tumour box or mask, bit 1 padding
``bias_field``        float32 (N, R/4, C/4,    log of the field divided out, at voxels 0, 4, 8 …
                      S/4), rounded up         of the crop; 0 where nothing was corrected
``labels``            int8 (N, T)              0, 1 or -1 (missing)
``records/I.json``    one a patient            what was done; written last, so it means complete
``patients.json``     all records              written when every patient is done
``attributes.json``   spec, versions           the same as in ``zarr.json``, to repair that
====================  =======================  ==========================================

``layout.py`` has the values, ``metadata.py`` and ``records.py`` their files, ``writer.py`` fills a store, ``reader.py``
reads it, and ``verify.py`` reads every byte again. `preprocessing.storage.folder_lock` keeps runs apart.

This package needs only numpy, zarr and fsspec: a training machine has no imaging libraries.
"""

from preprocessing.store.layout import (
    BIAS_STEP,
    REGION_PADDING,
    REGION_TUMOUR,
    SCHEMA_VERSION,
    PatientRecord,
    PatientTensor,
    StoreSpec,
)
from preprocessing.store.reader import Store
from preprocessing.store.writer import StoreWriter, quantise

__all__ = [
    "BIAS_STEP",
    "REGION_PADDING",
    "REGION_TUMOUR",
    "SCHEMA_VERSION",
    "PatientRecord",
    "PatientTensor",
    "Store",
    "StoreSpec",
    "StoreWriter",
    "quantise",
]
