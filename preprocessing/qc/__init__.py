"""Pages to look at, that show whether the store holds of each patient what it should.

`pages.write_pages` makes a folder of HTML files and PNG pictures that needs no server, no
network and nothing else. A patient's voxels are looked at once (`study`), in processes of their
own; what is odd is known when all were looked at (`outliers`); then the pages are written.
"""
