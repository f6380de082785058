"""Tests, and what they share.

Folders with fixtures of scope "package" are packages: in others, pytest keeps these until its end.
"""
