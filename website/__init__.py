"""Makes docs/ into a site: what the program says of itself is written here at every build, and kept nowhere.

``hooks.py`` is what MkDocs calls; the other files make one kind of page or picture each.
"""
