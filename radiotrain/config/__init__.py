"""Configure runs, sweeps and reproductions: YAML files, checked whole before anything starts.

======================  ===================================================
``config_template.py``  YAML templates and docs of a configuration's fields
``deprecation.py``      Warn about old names of settings and options
``reproduction.py``     Settings of the reproduction of the paper's table
``run_config.py``       Run configuration: one YAML file, validated whole
``yaml_text.py``        Strict YAML: plain values, one reading of each text
======================  ===================================================
"""
