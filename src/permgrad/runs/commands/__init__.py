"""The commands that work on a finished run or a saved model, and the demonstration.

Each raises an ``InputError`` for what it cannot use, before anything is written, and an
``EnvironmentProblem`` for a place that cannot be written or a library that is not
installed.
"""
