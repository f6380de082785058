"""What every package may use: errors, settings and text.

==================  ================================================================================
``errors.py``       errors that a user can cause; their base is `RadiotrainError`
``config.py``       settings of preprocessing
``redaction.py``    credentials and names of people or files, left out of what is shown
``json_values.py``  one text for equal JSON values, and where two differ
``page.py``         templates and pictures of HTML pages
``progress.py``     progress of a command
==================  ================================================================================
"""
