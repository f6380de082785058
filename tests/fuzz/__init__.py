"""Damaged and hostile inputs by the hundred thousand: ``make fuzz``, or ``python -m tests.fuzz``."""
