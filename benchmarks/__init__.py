"""Benchmarks: ``python -m benchmarks.NAME``, from the root of the repository.

Each one's ``--help`` says what it measures. Modules that start with an underscore are shared code.
"""
