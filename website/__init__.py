"""Makes docs/ into a site: what the program says of itself is written here at every build, and kept nowhere.

======================  ===================================
``hooks.py``            what MkDocs calls
``commands.py``         the page of commands
``configuration.py``    the pages of configurations
``docstrings.py``       what modules say of their formats
``flow_picture.py``     from cohort to report
``imports_picture.py``  which module imports which
``python_page.py``      the page of the public interface
======================  ===================================
"""
