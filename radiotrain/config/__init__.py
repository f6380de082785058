"""Configure runs, sweeps and reproductions: YAML files, checked whole before anything starts.

======================  ============================================================================
``config_template.py``  The fields of a configuration model with their docs, and a YAML template
``deprecation.py``      Old names of settings and options: accepted for one release, with a warning
``reproduction.py``     The settings of each step of the reproduction of the paper's table
``run_config.py``       The configuration of one run: one YAML file, checked whole before anything
``yaml_text.py``        YAML as configurations need it: plain values only, and each text one reading
======================  ============================================================================
"""
