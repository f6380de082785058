"""What a sweep will cost on GPUs that are not there yet, and how to spread it over them.

==============  ==========================================================
``gpus.py``     what data sheets say
``scaling.py``  how long an epoch takes on several GPUs; together or apart
``plan.py``     the plan of a sweep
==============  ==========================================================
"""
